package client_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-kit/log"
	"google.golang.org/grpc"

	"darktower.example/global-controller/pkg/client"
	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
)

// A meeting controller that takes part in a fleet until it is stopped.
func Example() {
	address, stopServer := serveExample() // In life: the Global Controllers' addresses.
	defer stopServer()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second) // In life: signal.NotifyContext.
	defer stop()

	mc, err := client.New(client.Config{
		ControllerID: "mc-eu-1", Region: "eu-west-1", GRPCEndpoint: "https://mc-eu-1.example:50052",
		MaxMeetings: 100, MaxParticipants: 5000,
		Addresses: []string{address},
		// In life: client.NewTokenSource(client.TokenConfig{URL: …, ClientID: …, ClientSecret: …}).
		Tokens: client.StaticToken("a.b.c"),
		Load:   func() client.Load { return client.Load{Meetings: 3, Participants: 21, CPUPercent: 12} },
		OnEvent: func(e client.Event) {
			fmt.Println(e.Kind)
			if e.Kind == client.EventRegistered {
				stop() // So that the example ends.
			}
		},
		Logger: log.NewLogfmtLogger(io.Discard), // In life: os.Stderr.
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := mc.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// registered
	// leaving
	// goodbye
}

// exampleServer stands for a Global Controller.
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
