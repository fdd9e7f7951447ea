package client

import (
	"context"
	"time"
)

// transport carries the calls. Each bounds itself; its errors are of type *failure.
type transport interface {
	register(ctx context.Context) (answer, error)
	heartbeat(ctx context.Context, r report) (answer, error)
	deregister(ctx context.Context) error
	// close waits until nothing of it runs any more.
	close()
}

// report is a heartbeat.
type report struct {
	comprehensive bool
	load          Load
	health        Health
}

// method is the name of the call that carries it.
func (r report) method() string {
	if r.comprehensive {
		return methodComprehensive
	}
	return methodFast
}

// answer is what the Global Controller says to a registration or a heartbeat that it took.
type answer struct {
	intervals  Intervals
	intent     Intent
	retryAfter time.Duration
}

const (
	methodRegister      = "RegisterMC"
	methodFast          = "FastHeartbeat"
	methodComprehensive = "ComprehensiveHeartbeat"
	methodStream        = "StreamHeartbeats"
	methodDeregister    = "Deregister"
)
