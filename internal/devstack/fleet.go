package devstack

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/pkg/client"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

// callTimeout is how long a simulated controller waits for an answer, as those in the field do.
const callTimeout = 10 * time.Second

// firstHeartbeat is how long after registering a simulated controller reports for the first time. Real ones do so at
// once; here one wants to see that they are pending.
const firstHeartbeat = 2 * time.Second

// fleet simulates meeting controllers in three regions.
type fleet struct {
	address   string
	tokens    client.TokenSource // of all of them
	size      int
	killOne   bool
	threshold time.Duration
	out       *screen
	begin     chan struct{} // closed when the controllers may register
	healthy   chan struct{} // closed when all of them are seen healthy
}

// run simulates until ctx ends.
func (f *fleet) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.begin:
	}
	var all sync.WaitGroup
	regions := []string{"us-east-1", "eu-west-1", "ap-south-1"}
	first, kill := context.WithCancel(ctx)
	defer kill()
	for i := range f.size {
		region := regions[i%len(regions)]
		mc := &controller{
			id: fmt.Sprintf("mc-%s-%d", region, i/len(regions)+1), region: region, fleet: f,
			capacity: &pb.ControllerCapacity{MaxMeetings: 100, MaxParticipants: 5000},
		}
		life := ctx
		if i == 0 {
			life = first
		}
		all.Go(func() { mc.live(life, time.Duration(i)*100*time.Millisecond) })
	}
	if f.killOne {
		select {
		case <-ctx.Done():
		case <-f.healthy:
			kill()
			f.out.line("%-18s killed; it must be unhealthy in %v at the latest", "mc-us-east-1-1", f.threshold+5*time.Second)
		}
	}
	all.Wait()
	<-ctx.Done()
	return nil
}

// controller is a simulated meeting controller.
type controller struct {
	id, region string
	fleet      *fleet
	capacity   *pb.ControllerCapacity
	client     pb.GlobalControllerServiceClient
	// draining is what an operator wishes, as the last heartbeat was told.
	draining bool
}

func (c *controller) live(ctx context.Context, after time.Duration) {
	if !wait(ctx, after) {
		return
	}
	connection, err := grpc.NewClient(c.fleet.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.fleet.out.line("%-18s cannot connect: %v", c.id, err)
		return
	}
	defer func() { _ = connection.Close() }()
	c.client = pb.NewGlobalControllerServiceClient(connection)
	for {
		answer, err := c.register(ctx)
		if err == nil {
			c.beat(ctx, time.Duration(answer.GetFastHeartbeatIntervalMs())*time.Millisecond, time.Duration(answer.GetComprehensiveHeartbeatIntervalMs())*time.Millisecond) //nolint:gosec // The service sends sane intervals.
		} else if ctx.Err() == nil {
			c.fleet.out.line("%-18s cannot register: %s", c.id, status.Convert(err).Message())
		}
		if !wait(ctx, time.Second+rand.N(time.Second)) { //nolint:gosec // Spreads load; no secret.
			return
		}
	}
}

// beat sends heartbeats until ctx ends or the service does not know the controller any more.
func (c *controller) beat(ctx context.Context, fast, comprehensive time.Duration) {
	if !wait(ctx, firstHeartbeat) {
		return
	}
	next := time.Now()
	for {
		c.invent()
		err := c.fastHeartbeat(ctx)
		if err == nil && !time.Now().Before(next) {
			next = next.Add(comprehensive)
			err = c.comprehensiveHeartbeat(ctx)
		}
		if status.Code(err) == codes.NotFound {
			return
		}
		if err != nil && ctx.Err() == nil {
			c.fleet.out.line("%-18s heartbeat not taken: %s", c.id, status.Convert(err).Message())
		}
		if !wait(ctx, fast) {
			return
		}
	}
}

// invent makes up what runs.
func (c *controller) invent() {
	if c.draining {
		c.capacity.CurrentMeetings /= 2 // It is given no new ones, and of those that it has some end.
	} else {
		c.capacity.CurrentMeetings = 20 + rand.Uint32N(20) //nolint:gosec // Invented load.
	}
	c.capacity.CurrentParticipants = c.capacity.GetCurrentMeetings() * (5 + rand.Uint32N(5)) //nolint:gosec // Likewise.
}

func (c *controller) register(ctx context.Context) (*pb.RegisterMCResponse, error) {
	ctx, cancel, err := c.authorize(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return c.client.RegisterMC(ctx, &pb.RegisterMCRequest{
		Id: c.id, Region: c.region, GrpcEndpoint: "http://" + c.id + ".example:50052", WebtransportEndpoint: "https://" + c.id + ".example:4433",
		MaxMeetings: c.capacity.GetMaxMeetings(), MaxParticipants: c.capacity.GetMaxParticipants(),
	})
}

func (c *controller) fastHeartbeat(ctx context.Context) error {
	ctx, cancel, err := c.authorize(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	answer, err := c.client.FastHeartbeat(ctx, &pb.FastHeartbeatRequest{ControllerId: c.id, Capacity: c.capacity, Health: pb.HealthStatus_HEALTH_STATUS_HEALTHY})
	if err == nil {
		c.draining = answer.GetOperatorIntent().GetDraining()
	}
	return err
}

func (c *controller) comprehensiveHeartbeat(ctx context.Context) error {
	ctx, cancel, err := c.authorize(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	_, err = c.client.ComprehensiveHeartbeat(ctx, &pb.ComprehensiveHeartbeatRequest{
		ControllerId: c.id, Capacity: c.capacity, Health: pb.HealthStatus_HEALTH_STATUS_HEALTHY,
		CpuUsagePercent: 20 + 30*rand.Float32(), MemoryUsagePercent: 40 + 10*rand.Float32(), //nolint:gosec // Invented load.
	})
	return err
}

// authorize bounds a call and gives it a token.
func (c *controller) authorize(ctx context.Context) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	token, err := c.fleet.tokens.Token(ctx)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), cancel, nil
}

// wait tells whether the time passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
