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

// concurrentSetupCalls limits the calls that register controllers or grant leases.
const concurrentSetupCalls = 64

var errNotAcknowledged = errors.New("not acknowledged")

// sendHeartbeat sends one heartbeat of a controller and returns when it is acknowledged. It is for one goroutine.
type sendHeartbeat func(ctx context.Context, controller int) error

// newSender returns a caller's function that sends heartbeats over a connection. Callers may share the connection.
type newSender func(ctx context.Context, conn *grpc.ClientConn) (sendHeartbeat, error)

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

func closeAll(conns []*grpc.ClientConn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

func controllerID(controller int) string { return fmt.Sprintf("mc-%06d", controller) }

func fastHeartbeat(controller int) *pb.FastHeartbeatRequest {
	return &pb.FastHeartbeatRequest{
		ControllerId: controllerID(controller),
		Health:       pb.HealthStatus_HEALTH_STATUS_HEALTHY,
		Capacity: &pb.ControllerCapacity{
			MaxMeetings:         100,
			CurrentMeetings:     uint32(controller % 100),
			MaxParticipants:     5000,
			CurrentParticipants: uint32(controller % 5000),
		},
	}
}

// comprehensiveHeartbeat returns every fourth heartbeat, as there are three fast ones to a comprehensive one.
func comprehensiveHeartbeat(controller int) *pb.ComprehensiveHeartbeatRequest {
	fast := fastHeartbeat(controller)
	return &pb.ComprehensiveHeartbeatRequest{
		ControllerId:       fast.ControllerId,
		Health:             fast.Health,
		Capacity:           fast.Capacity,
		CpuUsagePercent:    20,
		MemoryUsagePercent: 40,
	}
}

// newUnarySender sends each heartbeat as a call.
func newUnarySender(token string) newSender {
	return func(_ context.Context, conn *grpc.ClientConn) (sendHeartbeat, error) {
		client := pb.NewGlobalControllerServiceClient(conn)
		md := metadata.Pairs("authorization", "Bearer "+token)
		var sent int
		return func(ctx context.Context, controller int) error {
			ctx = metadata.NewOutgoingContext(ctx, md)
			sent++
			if sent%4 == 0 {
				response, err := client.ComprehensiveHeartbeat(ctx, comprehensiveHeartbeat(controller))
				return checkAcknowledged(response, err)
			}
			response, err := client.FastHeartbeat(ctx, fastHeartbeat(controller))
			return checkAcknowledged(response, err)
		}, nil
	}
}

// checkAcknowledged returns an error if the response does not acknowledge the heartbeat.
func checkAcknowledged(response interface{ GetAcknowledged() bool }, err error) error {
	if err == nil && !response.GetAcknowledged() {
		return errNotAcknowledged
	}
	return err
}

// newStreamSender sends the heartbeats as messages on one stream.
func newStreamSender(token string) newSender {
	return func(ctx context.Context, conn *grpc.ClientConn) (sendHeartbeat, error) {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		stream, err := streampb.NewHeartbeatServiceClient(conn).StreamHeartbeats(ctx)
		if err != nil {
			return nil, err
		}

		var sequence uint64
		return func(_ context.Context, controller int) error {
			sequence++
			request := &streampb.StreamHeartbeatsRequest{Sequence: sequence}
			if sequence%4 == 0 {
				request.Heartbeat = &streampb.StreamHeartbeatsRequest_Comprehensive{Comprehensive: comprehensiveHeartbeat(controller)}
			} else {
				request.Heartbeat = &streampb.StreamHeartbeatsRequest_Fast{Fast: fastHeartbeat(controller)}
			}

			if err := stream.Send(request); err != nil {
				return err
			}
			response, err := stream.Recv()
			if err == nil && (!response.GetAcknowledged() || response.GetSequence() != sequence) {
				return fmt.Errorf("%w: %d %s", errNotAcknowledged, response.GetCode(), response.GetMessage())
			}
			return err
		}, nil
	}
}

// newLeaseSender renews one etcd lease for each controller over a stream.
func newLeaseSender(leaseIDs []int64) newSender {
	return func(ctx context.Context, conn *grpc.ClientConn) (sendHeartbeat, error) {
		stream, err := etcdserverpb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
		if err != nil {
			return nil, err
		}

		return func(_ context.Context, controller int) error {
			if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: leaseIDs[controller%len(leaseIDs)]}); err != nil {
				return err
			}
			response, err := stream.Recv()
			if err == nil && response.TTL <= 0 {
				return errors.New("the lease has expired")
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
	defer closeAll(conns)

	client := etcdserverpb.NewLeaseClient(conns[0])
	ids := make([]int64, n)
	return ids, runConcurrently(concurrentSetupCalls, n, func(i int) error {
		granted, err := client.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: 3600})
		if err == nil {
			ids[i] = granted.ID
		}
		return err
	})
}

func newRegistration(controller int) *pb.RegisterMCRequest {
	return &pb.RegisterMCRequest{
		Id:              controllerID(controller),
		Region:          fmt.Sprintf("region-%d", controller%10),
		GrpcEndpoint:    "http://mc.example:50052",
		MaxMeetings:     100,
		MaxParticipants: 5000,
	}
}

func register(ctx context.Context, address, token string, n int) error {
	conns, err := connect(address, 8)
	if err != nil {
		return err
	}
	defer closeAll(conns)

	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
	return runConcurrently(concurrentSetupCalls, n, func(i int) error {
		_, err := pb.NewGlobalControllerServiceClient(conns[i%len(conns)]).RegisterMC(ctx, newRegistration(i))
		return err
	})
}

// echo responds to heartbeats and does nothing else. It shows the cost of gRPC alone.
type echo struct {
	pb.UnimplementedGlobalControllerServiceServer
}

func (echo) FastHeartbeat(context.Context, *pb.FastHeartbeatRequest) (*pb.FastHeartbeatResponse, error) {
	return &pb.FastHeartbeatResponse{Acknowledged: true, Timestamp: 1_800_000_000}, nil
}

func (echo) ComprehensiveHeartbeat(
	context.Context, *pb.ComprehensiveHeartbeatRequest,
) (*pb.ComprehensiveHeartbeatResponse, error) {
	return &pb.ComprehensiveHeartbeatResponse{Acknowledged: true, Timestamp: 1_800_000_000}, nil
}
