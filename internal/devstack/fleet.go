package devstack

import (
	"context"
	"fmt"
	"sync"
	"time"

	"darktower.example/global-controller/pkg/client"
)

// startInterval is the time between the starts of two controllers.
const startInterval = 100 * time.Millisecond

// maxDetection is how long after the staleness threshold a controller is unhealthy at the latest: the sweep's interval.
const maxDetection = 5 * time.Second

// fleet is the simulated meeting controllers, in three regions.
type fleet struct {
	address   string
	tokens    client.TokenSource // shared by all controllers
	size      int
	killOne   bool
	threshold time.Duration
	out       *screen
	begin     chan struct{} // closed when the controllers may register
	healthy   chan struct{} // closed when all of them are healthy
}

// run runs the fleet until ctx ends.
func (f *fleet) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.begin:
	}

	var running sync.WaitGroup
	firstCtx, killFirst := context.WithCancel(ctx)
	defer killFirst()
	regions := []string{"us-east-1", "eu-west-1", "ap-south-1"}

	for i := range f.size {
		region := regions[i%len(regions)]
		c := newController(f, fmt.Sprintf("mc-%s-%d", region, i/len(regions)+1), region)
		controllerCtx := ctx
		if i == 0 {
			controllerCtx = firstCtx
		}
		running.Go(func() { c.run(controllerCtx, time.Duration(i)*startInterval) })
	}

	if f.killOne {
		select {
		case <-ctx.Done():
		case <-f.healthy:
			killFirst()
			f.out.printLine("%-18s killed; it must be unhealthy within %v", "mc-us-east-1-1", f.threshold+maxDetection)
		}
	}
	running.Wait()
	<-ctx.Done()
	return nil
}

// wait waits for d, and reports whether d passed before ctx ended.
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
