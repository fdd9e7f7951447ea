package store

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// durationSQL formats a number of milliseconds as [time.Duration.String] does, rounded to seconds from one second on.
func durationSQL(ms string) string {
	seconds := "(((" + ms + ") + 500) / 1000)"
	part := func(format string) string { return strings.ReplaceAll(format, "$", seconds) }
	return "CASE WHEN " + ms + " < 1000 THEN " + ms + " || 'ms' " + part(`WHEN $ < 60 THEN $ || 's'
		WHEN $ < 3600 THEN ($ / 60) || 'm' || ($ % 60) || 's'
		ELSE ($ / 3600) || 'h' || ($ % 3600 / 60) || 'm' || ($ % 60) || 's' END`)
}

// staleReasonSQL is the reason of a row's transition. A silence can begin before a gap, or before the clock was set back.
// It is then measured from the time at which heartbeats could be committed again.
var staleReasonSQL = `CASE
	WHEN crosses_gap THEN 'no heartbeat for at least ' || ` + durationSQL("silence_ms") + ` || ' since heartbeats could be committed again'
	ELSE 'no heartbeat for ' || ` + durationSQL("silence_ms") + ` END || ' (threshold ' || ` + durationSQL("threshold_ms") + ` || ')'`

// markedRow is a transition that a sweep recorded.
type markedRow struct {
	ID           int64  `db:"id"`
	ControllerID string `db:"controller_id"`
	Region       string `db:"region"`
	From         string `db:"from_status"`
	To           string `db:"to_status"`
	Reported     string `db:"reported_status"`
	Reason       string `db:"reason"`
	SilenceMS    int64  `db:"silence_ms"`
}

// markStale marks at most a chunk of the controllers whose last heartbeat is older than their threshold. It skips locked
// rows: a heartbeat of such a controller is being written.
func (s *Store) markStale(ctx context.Context, tx *sqlx.Tx, state sweepState, policy service.SweepPolicy) ([]service.Transition, error) {
	mark := s.markStaleSQLite
	if s.dialect.isPostgres {
		mark = s.markStalePostgres
	}
	rows, err := mark(ctx, tx, state, policy)
	if err != nil {
		return nil, err
	}

	slices.SortFunc(rows, func(a, b markedRow) int { return cmp.Compare(a.ControllerID, b.ControllerID) })
	transitions := make([]service.Transition, 0, len(rows))
	for _, r := range rows {
		transitions = append(transitions, service.Transition{
			ControllerID: r.ControllerID,
			Region:       r.Region,
			At:           state.now,
			From:         service.HealthStatus(r.From),
			To:           service.HealthStatus(r.To),
			Cause:        service.CauseStale,
			Actor:        policy.Actor,
			Reason:       r.Reason,
			Silence:      milliseconds(r.SilenceMS),
			Reported:     service.HealthStatus(r.Reported),
		})
	}
	return transitions, nil
}

// listRefusals returns texts for the reasons of marks: the refusals of controllers' calls, by the controllers' ids.
func listRefusals(policy service.SweepPolicy) (ids, texts []string) {
	if policy.Refusals == nil {
		return nil, nil
	}
	for id, text := range policy.Refusals(policy.Threshold + policy.Interval) {
		ids = append(ids, id)
		texts = append(texts, text)
	}
	return ids, texts
}
