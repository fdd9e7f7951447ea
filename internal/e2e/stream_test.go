package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
	pb "darktower.example/global-controller/proto/darktower/v1"
	streampb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// openStream opens a stream of heartbeats, and waits until the server has accepted or refused it.
func (env *environment) openStream(ctx context.Context, authorization string) (streampb.HeartbeatService_StreamHeartbeatsClient, error) {
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	stream, err := streampb.NewHeartbeatServiceClient(env.conn).StreamHeartbeats(ctx)
	if err != nil {
		return nil, err
	}
	_, err = stream.Header()
	return stream, err
}

func streamHeartbeat(sequence uint64, id string, meetings uint32) *streampb.StreamHeartbeatsRequest {
	in := heartbeatRequest(id)
	in.Capacity.CurrentMeetings = meetings
	return &streampb.StreamHeartbeatsRequest{Sequence: sequence, Heartbeat: &streampb.StreamHeartbeatsRequest_Fast{Fast: in}}
}

// invalidHeartbeats returns heartbeats that the server refuses, and their codes and messages, by their sequence numbers.
func invalidHeartbeats() (heartbeats []*streampb.StreamHeartbeatsRequest, want map[uint64]string) {
	tooMuch := &pb.ComprehensiveHeartbeatRequest{ControllerId: "mc-1", Capacity: &pb.ControllerCapacity{}, CpuUsagePercent: 101}
	heartbeats = []*streampb.StreamHeartbeatsRequest{
		streamHeartbeat(100_001, "unknown", 0),
		streamHeartbeat(100_002, "a.b", 0),
		{Sequence: 100_003},
		{Sequence: 100_004, Heartbeat: &streampb.StreamHeartbeatsRequest_Comprehensive{Comprehensive: tooMuch}},
	}
	return heartbeats, map[uint64]string{
		100_001: "5 Controller not registered",
		100_002: "3 controller_id contains invalid characters",
		100_003: "3 heartbeat is required",
		100_004: "3 cpu_usage_percent must be between 0 and 100",
	}
}

func TestStream_Heartbeats(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		const controllers, heartbeats = 50, 20
		for i := range controllers {
			env.register(fmt.Sprintf("mc-%d", i), registration())
		}
		stream, err := env.openStream(t.Context(), *env.controllerAuth())
		if err != nil {
			t.Fatalf("open: %v", err)
		}

		invalid, want := invalidHeartbeats()
		go func() {
			for n := range heartbeats {
				for i := range controllers {
					_ = stream.Send(streamHeartbeat(uint64(n*controllers+i+1), fmt.Sprintf("mc-%d", i), uint32(n)))
				}
			}
			for _, in := range invalid {
				_ = stream.Send(in)
			}
			_ = stream.CloseSend()
		}()

		acknowledged := 0
		for {
			out, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("receive: %v", err)
			}
			if out.GetAcknowledged() && out.GetTimestamp() > 0 {
				acknowledged++
				continue
			}

			if got := fmt.Sprintf("%d %s", out.GetCode(), out.GetMessage()); got != want[out.GetSequence()] {
				t.Errorf("response %d = %s, want %s", out.GetSequence(), got, want[out.GetSequence()])
			}
			delete(want, out.GetSequence())
		}
		if acknowledged != controllers*heartbeats || len(want) > 0 {
			t.Errorf("acknowledged = %d, want %d; without a response: %v", acknowledged, controllers*heartbeats, want)
		}
		for id, c := range env.listFleet() {
			if c.CurrentMeetings != heartbeats-1 || c.Health != "healthy" {
				t.Errorf("%s = %+v, want healthy with the last load", id, c)
			}
		}

		const series = `gc_requests_total{code="OK",endpoint="FastHeartbeat",transport="grpc_stream"}`
		if got, _ := env.readMetric(series); got != controllers*heartbeats {
			t.Errorf("%s = %v, want %d", series, got, controllers*heartbeats)
		}
	})
}

func TestStream_Permissions(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()

	for name, tc := range map[string]struct {
		authorization string
		want          codes.Code
	}{
		"no header":     {"", codes.Unauthenticated},
		"a reader":      {"Bearer " + env.readerToken(), codes.PermissionDenied},
		"invalid token": {"Bearer x", codes.Unauthenticated},
	} {
		stream, err := env.openStream(t.Context(), tc.authorization)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != tc.want {
			t.Errorf("%s: open = %v, want %v", name, err, tc.want)
		}
	}
}

func TestStream_EndsWithItsToken(t *testing.T) {
	t.Parallel()
	for name, perMinute := range map[string]int{
		"": 1_000_000,
		// The address has used up its limit for invalid tokens, which is checked before the token.
		"at a rate-limited address": 1,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, sqliteURL(t), func(cfg *daemon.Config) { cfg.RateLimitPerMinute = perMinute }).waitReady()
			env.register("mc", registration())
			ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
			defer cancel()

			// Expired tokens are accepted for 60 s. The 8 s that are left are enough to open the stream on a busy machine.
			stream, err := env.openStream(ctx, "Bearer "+env.issuer.token(nil, map[string]any{"exp": time.Now().Unix() - 52}))
			if err != nil {
				t.Fatalf("open: %v", err)
			}

			if perMinute == 1 {
				env.send(viaGRPC, call{"FastHeartbeat", "mc", fastHeartbeat(), new("Bearer x")})
			}

			var last *streampb.StreamHeartbeatsResponse
			for n := 1; ; n++ {
				_ = stream.Send(streamHeartbeat(uint64(n), "mc", 1))
				out, err := stream.Recv()
				if err != nil {
					got := outcome{status.Code(err), status.Convert(err).Message()}
					if got != invalidToken || n < 3 || codes.Code(last.GetCode()) != codes.Unauthenticated {
						t.Errorf("after %d heartbeats the stream ended with %v, the last response was %v; want %v", n, err, last, invalidToken)
					}
					return
				}
				last = out
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}
