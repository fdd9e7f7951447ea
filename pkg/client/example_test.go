package client_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"google.golang.org/grpc"

	"darktower.example/global-controller/pkg/client"
	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
)

// ExampleClient_Run is the program of docs/client.md: a meeting controller that is part of a fleet until it receives SIGTERM.
func ExampleClient_Run() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logger := log.NewLogfmtLogger(os.Stderr)

	tokens, err := client.NewTokenSource(client.TokenConfig{
		URL:          "http://127.0.0.1:8082",
		ClientID:     "dev-mc",
		ClientSecret: client.Secret(os.Getenv("MC_CLIENT_SECRET")),
		Logger:       logger,
	})
	if err != nil {
		_ = logger.Log("err", err)
		return
	}
	defer tokens.Close()

	controller, err := client.New(client.Config{
		ControllerID:    "mc-example-1",
		Region:          "eu-west-1",
		GRPCEndpoint:    "http://mc-example-1.example:50052",
		MaxMeetings:     100,
		MaxParticipants: 5000,
		Addresses:       []string{"127.0.0.1:50051"},
		TLS:             nil, // Plaintext, as the demo uses it. In production: &tls.Config{}.
		Tokens:          tokens,
		Load: func() client.Load {
			return client.Load{Meetings: 3, Participants: 21, CPUPercent: 12} // Return the current load.
		},
		OnEvent: func(e client.Event) {
			if e.Kind == client.EventDrain {
				_ = logger.Log("msg", "accept no new meetings", "until", e.Intent.Deadline)
			}
		},
		Logger:   logger,
		Shutdown: client.Shutdown{WaitForMeetings: 10 * time.Minute, Deregister: true},
	})
	if err != nil {
		_ = logger.Log("err", err)
		return
	}

	if err := controller.Run(ctx); err != nil {
		_ = logger.Log("err", err) // Another process has the controller's id, or the registration is invalid.
	}
}

// TestExample_IsTheOneOfTheGuide checks that docs/client.md has the body of ExampleClient_Run as its program.
func TestExample_IsTheOneOfTheGuide(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../docs/client.md")
	if err != nil {
		t.Fatal(err)
	}

	_, rest, _ := strings.Cut(string(source), "func ExampleClient_Run() {\n")
	body, _, _ := strings.Cut(rest, "\n}\n")
	if len(body) < 1000 || !strings.Contains(string(guide), "func main() {\n"+body+"\n}\n") {
		t.Errorf("docs/client.md has another program, want main with the body of ExampleClient_Run:\n%s", body)
	}
}

// Example is a client that stops when it is registered.
func Example() {
	address, stopServer := serveExample()
	defer stopServer()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()

	controller, err := client.New(client.Config{
		ControllerID:    "mc-eu-1",
		Region:          "eu-west-1",
		GRPCEndpoint:    "https://mc-eu-1.example:50052",
		MaxMeetings:     100,
		MaxParticipants: 5000,
		Addresses:       []string{address},
		Tokens:          client.StaticToken("a.b.c"),
		Load:            func() client.Load { return client.Load{Meetings: 3, Participants: 21, CPUPercent: 12} },
		OnEvent: func(e client.Event) {
			fmt.Println(e.Kind)
			if e.Kind == client.EventRegistered {
				stop()
			}
		},
		Logger: log.NewLogfmtLogger(io.Discard),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := controller.Run(ctx); err != nil {
		fmt.Println(err)
	}

	// Output:
	// registered
	// stopping
	// stopped
}

// exampleServer is a minimal Global Controller.
type exampleServer struct {
	darktowerv1.UnimplementedGlobalControllerServiceServer
}

func (exampleServer) RegisterMC(context.Context, *darktowerv1.RegisterMCRequest) (*darktowerv1.RegisterMCResponse, error) {
	return &darktowerv1.RegisterMCResponse{Accepted: true}, nil
}

func (exampleServer) FastHeartbeat(context.Context, *darktowerv1.FastHeartbeatRequest) (*darktowerv1.FastHeartbeatResponse, error) {
	return &darktowerv1.FastHeartbeatResponse{Acknowledged: true}, nil
}

func serveExample() (address string, stop func()) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", func() {}
	}

	server := grpc.NewServer()
	darktowerv1.RegisterGlobalControllerServiceServer(server, exampleServer{})
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String(), server.Stop
}
