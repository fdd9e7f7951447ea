package e2e

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

// sumCounts adds up the numbers that the pattern's group matches in the log.
func (env *environment) sumCounts(pattern string) (sum int) {
	for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(env.log.String(), -1) {
		n, _ := strconv.Atoi(found[1])
		sum += n
	}
	return sum
}

func TestLog_LimitedUnderAttack(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.LogLevel, c.RateLimitPerMinute = "info", 600 }).waitReady()
		before := len(env.log.String())
		var callers sync.WaitGroup

		for i := range 4 {
			callers.Go(func() {
				for range 1250 {
					env.send(viaGRPC, call{"FastHeartbeat", fmt.Sprintf("mc-%d", i), fastHeartbeat(), new("Bearer x")})
				}
			})
		}

		callers.Wait()
		grown := len(env.log.String()) - before
		if grown > 2000 {
			t.Errorf("5000 invalid tokens made the log grow by %d bytes, want a line for each kind", grown)
		}

		env.shutDown() // It writes the counts.
		if counted := env.sumCounts(`msg="more calls" endpoint=FastHeartbeat .*count=(\d+)`); counted < 4900 {
			t.Errorf("%d calls are counted, want nearly 5000; log:\n%s", counted, env.log)
		}
		t.Logf("the log grew by %d bytes", grown)
	})
}

func TestLog_ControllerEvents(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.LogLevel = "info" }).waitReady()
		env.register("mc", registration())
		env.sendOperatorCall(http.MethodPost, "mc/drain", `{"reason":"kernel","force":true}`)
		env.sendOperatorCall(http.MethodDelete, "mc/drain", "")
		env.sendOperatorCall(http.MethodDelete, "mc", "")

		for _, want := range []string{
			`msg="controller registered" controller_id=mc`,
			`msg="drain started" controller_id=mc region=eu-west-1 from=pending to=draining actor=operator-1`,
			`msg="drain ended" controller_id=mc`,
			`msg="controller left the fleet" controller_id=mc`,
		} {
			if !strings.Contains(env.log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, env.log)
			}
		}

		// At most 5 registrations a second are logged, the others are counted.
		began := time.Now()
		var callers sync.WaitGroup
		for i := range 4 {
			callers.Go(func() {
				for j := range 100 {
					env.send(viaGRPC, call{"RegisterMC", fmt.Sprintf("mc-%d-%d", i, j), registration(), env.controllerAuth()})
				}
			})
		}

		callers.Wait()
		limit := 5 * (int(time.Since(began)/time.Second) + 2)

		env.shutDown() // It writes the counts.
		lines := strings.Count(env.log.String(), `msg="controller registered" controller_id=`) - 1
		more := env.sumCounts(`msg="controller registered" more=true count=(\d+)`)
		if lines+more != 400 || lines > limit {
			t.Errorf("400 registrations made %d lines and %d that are counted, want all of them in at most %d lines", lines, more, limit)
		}
	})
}

func TestUnknownServices_AreCounted(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.LogLevel = "info" }).waitReady()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", *env.controllerAuth())

	for range 50 {
		err := env.conn.Invoke(ctx, "/dark_tower.internal.v1.MediaHandlerService/Register", &pb.RegisterMCRequest{}, &pb.RegisterMCResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Fatalf("an unknown service = %v, want Unimplemented", err)
		}
		if got := env.get("/api/v2/controllers", "").status; got != http.StatusNotFound {
			t.Fatalf("an unknown path = %d, want 404", got)
		}
	}

	for _, transport := range []string{"grpc", "http"} {
		if got, _ := env.readMetric(`gc_unknown_calls_total{transport="` + transport + `"}`); got != 50 {
			t.Errorf("gc_unknown_calls_total of %s = %v, want 50", transport, got)
		}
	}

	env.shutDown() // It writes the counts.
	const path = "/dark_tower.internal.v1.MediaHandlerService/Register"
	for _, want := range []string{
		`msg="unknown call" transport=grpc peer=127.0.0.1 what=` + path,
		`msg="more unknown calls" transport=grpc peer=127.0.0.1 what=` + path + ` count=49`,
		`msg="unknown call" transport=http peer=127.0.0.1 what="GET /api/v2/controllers"`,
	} {
		if strings.Count(env.log.String(), want) != 1 {
			t.Errorf("the log has not one line %s:\n%s", want, env.log)
		}
	}
}
