package main

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "darktower.example/global-controller/proto/darktower/v1"
	streampb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// beat sends one heartbeat of a controller and returns when it is answered.
type beat func(ctx context.Context, controller int) error

// dialer makes what one caller beats with, over a connection that callers may share.
type dialer func(ctx context.Context, conn *grpc.ClientConn) (beat, error)

func connect(address string, n int) ([]*grpc.ClientConn, error) {
	conns := make([]*grpc.ClientConn, n)
	for i := range conns {
		var err error
		if conns[i], err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
			return nil, err
		}
	}
	return conns, nil
}

func name(controller int) string { return fmt.Sprintf("mc-%06d", controller) }

func fastBeat(controller int) *pb.FastHeartbeatRequest {
	return &pb.FastHeartbeatRequest{
		ControllerId: name(controller), Health: pb.HealthStatus_HEALTH_STATUS_HEALTHY,
		Capacity: &pb.ControllerCapacity{MaxMeetings: 100, CurrentMeetings: uint32(controller % 100), MaxParticipants: 5000, CurrentParticipants: uint32(controller % 5000)},
	}
}

// fullBeat is every fourth, as three fast ones come to one comprehensive.
func fullBeat(controller int) *pb.ComprehensiveHeartbeatRequest {
	fast := fastBeat(controller)
	return &pb.ComprehensiveHeartbeatRequest{ControllerId: fast.ControllerId, Health: fast.Health, Capacity: fast.Capacity, CpuUsagePercent: 20, MemoryUsagePercent: 40}
}

func unary(token string) dialer {
	return func(ctx context.Context, conn *grpc.ClientConn) (beat, error) {
		client := pb.NewGlobalControllerServiceClient(conn)
		md := metadata.Pairs("authorization", "Bearer "+token)
		var sent int
		return func(ctx context.Context, controller int) error {
			if sent++; sent%4 == 0 {
				answer, err := client.ComprehensiveHeartbeat(metadata.NewOutgoingContext(ctx, md), fullBeat(controller))
				if err == nil && !answer.GetAcknowledged() {
					return errors.New("not acknowledged")
				}
				return err
			}
			answer, err := client.FastHeartbeat(metadata.NewOutgoingContext(ctx, md), fastBeat(controller))
			if err == nil && !answer.GetAcknowledged() {
				return errors.New("not acknowledged")
			}
			return err
		}, nil
	}
}

func stream(token string) dialer {
	return func(ctx context.Context, conn *grpc.ClientConn) (beat, error) {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		s, err := streampb.NewHeartbeatServiceClient(conn).StreamHeartbeats(ctx)
		if err != nil {
			return nil, err
		}
		var sequence uint64
		return func(_ context.Context, controller int) error {
			sequence++
			in := &streampb.StreamHeartbeatsRequest{Sequence: sequence}
			if sequence%4 == 0 {
				in.Heartbeat = &streampb.StreamHeartbeatsRequest_Comprehensive{Comprehensive: fullBeat(controller)}
			} else {
				in.Heartbeat = &streampb.StreamHeartbeatsRequest_Fast{Fast: fastBeat(controller)}
			}
			if err := s.Send(in); err != nil {
				return err
			}
			answer, err := s.Recv()
			if err == nil && (!answer.GetAcknowledged() || answer.GetSequence() != sequence) {
				return fmt.Errorf("answered with %d %s", answer.GetCode(), answer.GetMessage())
			}
			return err
		}, nil
	}
}

// leases renews one lease a controller over etcd's stream.
func leases(ids []int64) dialer {
	return func(ctx context.Context, conn *grpc.ClientConn) (beat, error) {
		s, err := etcdserverpb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
		if err != nil {
			return nil, err
		}
		return func(_ context.Context, controller int) error {
			if err := s.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: ids[controller%len(ids)]}); err != nil {
				return err
			}
			answer, err := s.Recv()
			if err == nil && answer.TTL <= 0 {
				return errors.New("the lease is gone")
			}
			return err
		}, nil
	}
}

func grantLeases(ctx context.Context, address string, n int) ([]int64, error) {
	conns, err := connect(address, 1)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conns[0].Close() }()
	client := etcdserverpb.NewLeaseClient(conns[0])
	ids := make([]int64, n)
	return ids, together(64, n, func(i int) error {
		granted, err := client.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: 3600})
		if err == nil {
			ids[i] = granted.ID
		}
		return err
	})
}

func register(ctx context.Context, address, token string, n int) error {
	conns, err := connect(address, 8)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	md := metadata.Pairs("authorization", "Bearer "+token)
	return together(64, n, func(i int) error {
		_, err := pb.NewGlobalControllerServiceClient(conns[i%len(conns)]).RegisterMC(metadata.NewOutgoingContext(ctx, md), &pb.RegisterMCRequest{
			Id: name(i), Region: fmt.Sprintf("region-%d", i%10), GrpcEndpoint: "http://mc.example:50052", MaxMeetings: 100, MaxParticipants: 5000,
		})
		return err
	})
}

func closeAll(conns []*grpc.ClientConn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// echo answers heartbeats and does nothing else: what gRPC alone costs.
type echo struct {
	pb.UnimplementedGlobalControllerServiceServer
}

func (echo) FastHeartbeat(context.Context, *pb.FastHeartbeatRequest) (*pb.FastHeartbeatResponse, error) {
	return &pb.FastHeartbeatResponse{Acknowledged: true, Timestamp: 1_800_000_000}, nil
}

func (echo) ComprehensiveHeartbeat(context.Context, *pb.ComprehensiveHeartbeatRequest) (*pb.ComprehensiveHeartbeatResponse, error) {
	return &pb.ComprehensiveHeartbeatResponse{Acknowledged: true, Timestamp: 1_800_000_000}, nil
}
