package operatorcli

import (
	"context"
	"fmt"
	"strings"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// checkReplicas checks the store and the Global Controllers that share it.
func (d *doctor) checkReplicas(ctx context.Context) {
	response, err := readWithRetry(ctx, d.conn, "", &pb.ListReplicasRequest{}, d.conn.fleet.ListReplicas)
	switch {
	case err != nil && strings.Contains(err.Error(), unimplementedText):
		d.report("replicas", resultSkipped, "", "this Global Controller is too old to list replicas")
		return
	case err != nil:
		d.report("replicas", resultFail, adviceServerLog, "%s", withoutAdvice(err))
		return
	}

	d.checkDatabase(response.GetStore())
	d.checkReplicaSettings(response.GetReplicas())
	d.checkConnections(response)
}

func (d *doctor) checkDatabase(store *pb.Store) {
	if store.GetWritable() {
		d.report("database", resultOK, "", "%s accepts writes; its schema is at migration %d", store.GetKind(), store.GetSchemaVersion())
		return
	}
	d.report("database", resultFail, adviceServerLog+"; the usual causes are a standby, a full disk or a lock on the tables",
		"%s does not accept writes: no heartbeat can be stored", store.GetKind())
}

// checkReplicaSettings compares the versions and settings of the replicas.
func (d *doctor) checkReplicaSettings(replicas []*pb.Replica) {
	if len(replicas) == 0 {
		return // The readiness check reports why the replica has not recorded itself.
	}

	versions, settings := newIDGroups(), newIDGroups()
	for _, r := range replicas {
		versions.add(r.GetVersion(), r.GetReplicaId())
		settings.add(fmt.Sprintf("threshold %d ms, heartbeats %d ms and %d ms",
			r.GetStalenessThresholdMs(), r.GetFastHeartbeatIntervalMs(), r.GetComprehensiveHeartbeatIntervalMs()), r.GetReplicaId())
	}

	if len(versions.names) > 1 {
		d.report("replicas", resultWarning, "finish the rollout", "they run different versions: %s", versions)
	}
	if len(settings.names) > 1 {
		d.report("replicas", resultWarning, "give all of them the same settings; until then the longest threshold applies",
			"they have different settings: %s", settings)
	}
	if len(versions.names) == 1 && len(settings.names) == 1 {
		d.report("replicas", resultOK, "", "%s of one version, with the same settings",
			formatCount(int64(len(replicas)), "replica", "replicas"))
	}
}

// checkConnections compares the connections that the replicas may open with the limit of the database.
func (d *doctor) checkConnections(response *pb.ListReplicasResponse) {
	var pooled []string
	var sum uint32
	for _, r := range response.GetReplicas() {
		if r.GetPooler() {
			pooled = append(pooled, r.GetReplicaId())
			continue
		}
		sum += r.GetConnectionLimit()
	}

	limit := response.GetStore().GetMaxConnections()
	switch {
	case len(pooled) > 0:
		d.report("pooler", resultWarning, "connect to PostgreSQL directly if you can: watches then get changes sooner",
			"a connection pooler is between the store and %s; settings travel with each statement, and watches poll", joinFirst(pooled))
	case limit > 0 && sum > limit:
		d.report("connections", resultWarning, "raise max_connections of PostgreSQL, lower GC_DB_MAX_CONNECTIONS, or run fewer replicas",
			"%s may open %d connections in total, but PostgreSQL accepts only %d from users that are not superusers",
			formatCount(int64(len(response.GetReplicas())), "replica", "replicas"), sum, limit)
	case limit > 0 && sum > 0:
		d.report("connections", resultOK, "", "the replicas may open %d connections in total, of %d that PostgreSQL accepts", sum, limit)
	}
}

// idGroups groups ids by what they have in common, in the order of their first appearance.
type idGroups struct {
	names []string
	ids   map[string][]string
}

func newIDGroups() *idGroups { return &idGroups{ids: make(map[string][]string)} }

func (g *idGroups) add(name, id string) {
	if g.ids[name] == nil {
		g.names = append(g.names, name)
	}
	g.ids[name] = append(g.ids[name], id)
}

// String implements [fmt.Stringer].
func (g *idGroups) String() string {
	parts := make([]string, 0, len(g.names))
	for _, name := range g.names {
		parts = append(parts, fmt.Sprintf("%s (%s)", name, joinFirst(g.ids[name])))
	}
	return strings.Join(parts, "; ")
}
