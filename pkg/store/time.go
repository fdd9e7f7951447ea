package store

import (
	"database/sql"
	"fmt"
	"time"
)

// dbTime is a time from either database: a timestamp, or Unix milliseconds.
type dbTime struct{ time.Time }

// Scan implements [sql.Scanner].
func (t *dbTime) Scan(value any) error {
	switch v := value.(type) {
	case time.Time:
		t.Time = v.UTC()
	case int64:
		t.Time = time.UnixMilli(v).UTC()
	default:
		return fmt.Errorf("scan a time: unsupported type %T", value)
	}
	return nil
}

// orZero returns the zero time for NULL.
func (t *dbTime) orZero() time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

var _ sql.Scanner = (*dbTime)(nil)

// silenceUntil returns the time since the last heartbeat. It is not negative, although the database's clock may have
// been set back.
func silenceUntil(now, lastHeartbeat time.Time) time.Duration { return max(0, now.Sub(lastHeartbeat)) }
