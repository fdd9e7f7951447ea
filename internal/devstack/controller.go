package devstack

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// callTimeout is that of the calls of a simulated controller, the same as in production.
const callTimeout = 10 * time.Second

// firstHeartbeatDelay is the time from a registration to the first heartbeat. Real controllers send it at once. Here the
// delay makes the state pending visible.
const firstHeartbeatDelay = 2 * time.Second

// controller is a simulated meeting controller. It uses the generated client, as a controller in another language would.
type controller struct {
	id       string
	region   string
	fleet    *fleet
	capacity *pb.ControllerCapacity
	client   pb.GlobalControllerServiceClient
	// isDraining is the operator's intent in the response to the last heartbeat.
	isDraining bool
}

func newController(f *fleet, id, region string) *controller {
	return &controller{
		id:       id,
		region:   region,
		fleet:    f,
		capacity: &pb.ControllerCapacity{MaxMeetings: 100, MaxParticipants: 5000},
	}
}

// run waits for the delay, registers, and sends heartbeats until ctx ends.
func (c *controller) run(ctx context.Context, delay time.Duration) {
	if !wait(ctx, delay) {
		return
	}
	connection, err := grpc.NewClient(c.fleet.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.fleet.out.printLine("%-18s cannot connect: %v", c.id, err)
		return
	}
	defer func() { _ = connection.Close() }()
	c.client = pb.NewGlobalControllerServiceClient(connection)

	for {
		response, err := c.register(ctx)
		if err == nil {
			fast := time.Duration(response.GetFastHeartbeatIntervalMs()) * time.Millisecond                   //nolint:gosec // Not that long.
			comprehensive := time.Duration(response.GetComprehensiveHeartbeatIntervalMs()) * time.Millisecond //nolint:gosec // Likewise.
			c.sendHeartbeats(ctx, fast, comprehensive)
		} else if ctx.Err() == nil {
			c.fleet.out.printLine("%-18s cannot register: %s", c.id, status.Convert(err).Message())
		}

		if !wait(ctx, time.Second+rand.N(time.Second)) { //nolint:gosec // Spreads load; no secret.
			return
		}
	}
}

// sendHeartbeats sends heartbeats until ctx ends or the controller is not registered any more.
func (c *controller) sendHeartbeats(ctx context.Context, fast, comprehensive time.Duration) {
	if !wait(ctx, firstHeartbeatDelay) {
		return
	}

	nextComprehensive := time.Now()
	for {
		c.updateLoad()
		err := c.fastHeartbeat(ctx)
		if err == nil && !time.Now().Before(nextComprehensive) {
			nextComprehensive = nextComprehensive.Add(comprehensive)
			err = c.comprehensiveHeartbeat(ctx)
		}

		if status.Code(err) == codes.NotFound {
			return
		}
		if err != nil && ctx.Err() == nil {
			c.fleet.out.printLine("%-18s heartbeat failed: %s", c.id, status.Convert(err).Message())
		}
		if !wait(ctx, fast) {
			return
		}
	}
}

// updateLoad sets random numbers of meetings and participants. On a draining controller the meetings become fewer.
func (c *controller) updateLoad() {
	if c.isDraining {
		c.capacity.CurrentMeetings /= 2
	} else {
		c.capacity.CurrentMeetings = 20 + rand.Uint32N(20) //nolint:gosec // Simulated load.
	}
	c.capacity.CurrentParticipants = c.capacity.GetCurrentMeetings() * (5 + rand.Uint32N(5)) //nolint:gosec // Likewise.
}

func (c *controller) register(ctx context.Context) (*pb.RegisterMCResponse, error) {
	ctx, cancel, err := c.prepareCall(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return c.client.RegisterMC(ctx, &pb.RegisterMCRequest{
		Id:                   c.id,
		Region:               c.region,
		GrpcEndpoint:         "http://" + c.id + ".example:50052",
		WebtransportEndpoint: "https://" + c.id + ".example:4433",
		MaxMeetings:          c.capacity.GetMaxMeetings(),
		MaxParticipants:      c.capacity.GetMaxParticipants(),
	})
}

func (c *controller) fastHeartbeat(ctx context.Context) error {
	ctx, cancel, err := c.prepareCall(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	response, err := c.client.FastHeartbeat(ctx, &pb.FastHeartbeatRequest{
		ControllerId: c.id,
		Capacity:     c.capacity,
		Health:       pb.HealthStatus_HEALTH_STATUS_HEALTHY,
	})
	if err == nil {
		c.isDraining = response.GetOperatorIntent().GetDraining()
	}
	return err
}

func (c *controller) comprehensiveHeartbeat(ctx context.Context) error {
	ctx, cancel, err := c.prepareCall(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	_, err = c.client.ComprehensiveHeartbeat(ctx, &pb.ComprehensiveHeartbeatRequest{
		ControllerId:       c.id,
		Capacity:           c.capacity,
		Health:             pb.HealthStatus_HEALTH_STATUS_HEALTHY,
		CpuUsagePercent:    20 + 30*rand.Float32(), //nolint:gosec // Simulated load.
		MemoryUsagePercent: 40 + 10*rand.Float32(), //nolint:gosec // Likewise.
	})
	return err
}

// prepareCall returns a context with a timeout and a token.
func (c *controller) prepareCall(ctx context.Context) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	token, err := c.fleet.tokens.Token(ctx)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), cancel, nil
}
