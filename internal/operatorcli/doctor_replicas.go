package operatorcli

import (
	"context"
	"fmt"
	"strings"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// checkReplicas checks the Global Controllers over one store, and the store.
func (d *doctor) checkReplicas(ctx context.Context) {
	got, err := read(ctx, d.session, "", &pb.ListReplicasRequest{}, d.session.fleet.ListReplicas)
	switch {
	case err != nil && strings.Contains(err.Error(), unknownCall):
		d.found("replicas", skipped, "", "this Global Controller is too old to list replicas")
		return
	case err != nil:
		d.found("replicas", bad, "the log of the Global Controller says more", "%s", withoutAdvice(err))
		return
	}

	store := got.GetStore()
	if store.GetWritable() {
		d.found("database", fine, "", "%s accepts writes; its schema is at migration %d", store.GetKind(), store.GetSchemaVersion())
	} else {
		d.found("database", bad, "see the log of the Global Controller; a standby, a full disk or a lock on its tables are the usual causes",
			"%s does not accept writes: no heartbeat can be stored", store.GetKind())
	}

	d.checkReplicaSettings(got.GetReplicas())
	d.checkConnections(got)
}

// checkReplicaSettings compares the replicas with each other.
func (d *doctor) checkReplicaSettings(replicas []*pb.Replica) {
	if len(replicas) == 0 {
		return // The readiness check reports why the replica has not recorded itself.
	}

	versions, settings := newGroups(), newGroups()
	for _, r := range replicas {
		versions.add(r.GetVersion(), r.GetReplicaId())
		settings.add(fmt.Sprintf("threshold %d ms, heartbeats %d ms and %d ms",
			r.GetStalenessThresholdMs(), r.GetFastHeartbeatIntervalMs(), r.GetComprehensiveHeartbeatIntervalMs()), r.GetReplicaId())
	}

	if len(versions.names) > 1 {
		d.found("replicas", warning, "finish the rollout", "they run different versions: %s", versions)
	}
	if len(settings.names) > 1 {
		d.found("replicas", warning, "give all of them the same settings; until then the longest threshold applies",
			"they have different settings: %s", settings)
	}
	if len(versions.names) == 1 && len(settings.names) == 1 {
		d.found("replicas", fine, "", "%s of one version, with the same settings", counted(int64(len(replicas)), "replica", "replicas"))
	}
}

// checkConnections adds up the connections that the replicas may open.
func (d *doctor) checkConnections(got *pb.ListReplicasResponse) {
	var pooled []string
	var sum uint32
	for _, r := range got.GetReplicas() {
		if r.GetPooler() {
			pooled = append(pooled, r.GetReplicaId())
			continue
		}
		sum += r.GetConnectionLimit()
	}

	most := got.GetStore().GetMaxConnections()
	switch {
	case len(pooled) > 0:
		d.found("pooler", warning, "connect to PostgreSQL directly if you can: changes reach watches sooner then",
			"a connection pooler is between the store and %s; settings travel with each statement, and watches poll", some(pooled))
	case most > 0 && sum > most:
		d.found("connections", warning, "raise max_connections of PostgreSQL, lower GC_DB_MAX_CONNECTIONS, or run fewer replicas",
			"%s may open %d connections together, and PostgreSQL takes %d from users that are no superusers",
			counted(int64(len(got.GetReplicas())), "replica", "replicas"), sum, most)
	case most > 0 && sum > 0:
		d.found("connections", fine, "", "the replicas may open %d connections together, of %d that PostgreSQL accepts", sum, most)
	}
}

// groups are the ids that have something in common, in the order of their first appearance.
type groups struct {
	names []string
	ids   map[string][]string
}

func newGroups() *groups { return &groups{ids: make(map[string][]string)} }

func (g *groups) add(name, id string) {
	if g.ids[name] == nil {
		g.names = append(g.names, name)
	}
	g.ids[name] = append(g.ids[name], id)
}

// String implements [fmt.Stringer].
func (g *groups) String() string {
	parts := make([]string, 0, len(g.names))
	for _, name := range g.names {
		parts = append(parts, fmt.Sprintf("%s (%s)", name, some(g.ids[name])))
	}
	return strings.Join(parts, "; ")
}
