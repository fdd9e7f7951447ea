package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
	pb "darktower.example/global-controller/proto/darktower/v1"
	streampb "darktower.example/global-controller/proto/globalcontroller/v1"
)

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
	return &streampb.StreamHeartbeatsRequest{Sequence: sequence, Heartbeat: &streampb.StreamHeartbeatsRequest_Fast{Fast: &pb.FastHeartbeatRequest{
		ControllerId: id, Capacity: &pb.ControllerCapacity{CurrentMeetings: meetings}, Health: 1,
	}}}
}

func TestStream_Heartbeats(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		const controllers, beats = 50, 20
		for i := range controllers {
			env.register(fmt.Sprintf("mc-%d", i), registration())
		}
		stream, err := env.openStream(t.Context(), *env.controllerAuth())
		if err != nil {
			t.Fatalf("open: %v", err)
		}

		refused := map[uint64]*streampb.StreamHeartbeatsRequest{
			100_001: streamHeartbeat(0, "nobody", 0),
			100_002: streamHeartbeat(0, "a.b", 0),
			100_003: {},
			100_004: {Heartbeat: &streampb.StreamHeartbeatsRequest_Comprehensive{Comprehensive: &pb.ComprehensiveHeartbeatRequest{
				ControllerId: "mc-1", Capacity: &pb.ControllerCapacity{}, CpuUsagePercent: 101,
			}}},
		}

		go func() {
			for n := range beats {
				for i := range controllers {
					_ = stream.Send(streamHeartbeat(uint64(n*controllers+i+1), fmt.Sprintf("mc-%d", i), uint32(n)))
				}
			}

			for sequence, in := range refused {
				in.Sequence = sequence
				_ = stream.Send(in)
			}
			_ = stream.CloseSend()
		}()

		want := map[uint64]string{
			100_001: "5 Controller not registered", 100_002: "3 controller_id contains invalid characters", 100_003: "3 heartbeat is required",
			100_004: "3 cpu_usage_percent must be between 0 and 100",
		}
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
				t.Errorf("answer %d = %s, want %s", out.GetSequence(), got, want[out.GetSequence()])
			}
			delete(want, out.GetSequence())
		}

		if acknowledged != controllers*beats || len(want) > 0 {
			t.Errorf("acknowledged = %d, want %d; not answered: %v", acknowledged, controllers*beats, want)
		}
		for id, c := range env.listFleet() {
			if c.CurrentMeetings != beats-1 || c.Health != "healthy" {
				t.Errorf("%s = %+v, want healthy with the last load", id, c)
			}
		}

		metrics := env.get("/metrics", "").body
		if line := fmt.Sprintf(`gc_requests_total{code="OK",endpoint="FastHeartbeat",transport="grpc_stream"} %d`, controllers*beats); !strings.Contains(metrics, line) {
			t.Errorf("/metrics lacks %s", line)
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
		"nobody":   {"", codes.Unauthenticated},
		"a reader": {"Bearer " + env.readerToken(), codes.PermissionDenied},
		"no token": {"Bearer x", codes.Unauthenticated},
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
		// The address has used up its failures, so the limit answers for the token.
		"at an address that is shed": 1,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, sqliteURL(t), func(cfg *daemon.Config) { cfg.RateLimitPerMinute = perMinute }).waitReady()
			env.send(viaGRPC, call{"RegisterMC", "mc", registration(), env.controllerAuth()})
			ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
			defer cancel()

			// The leeway is 60 s, of which some seconds are left: enough to open the stream on a busy machine.
			stream, err := env.openStream(ctx, "Bearer "+env.issuer.token(nil, map[string]any{"exp": time.Now().Unix() - 52}))
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			if perMinute == 1 {
				nonsense := "Bearer x"
				env.send(viaGRPC, call{"FastHeartbeat", "mc", fastHeartbeat(), &nonsense})
			}

			var last *streampb.StreamHeartbeatsResponse
			for n := uint64(1); ; n++ {
				_ = stream.Send(streamHeartbeat(n, "mc", 1))
				out, err := stream.Recv()
				if err != nil {
					if status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != "Invalid token" || n < 3 ||
						codes.Code(last.GetCode()) != codes.Unauthenticated {
						t.Errorf("after %d heartbeats the stream ended with %v, the last answer being %v; want UNAUTHENTICATED", n, err, last)
					}
					return
				}

				last = out
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}
