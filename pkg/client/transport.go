package client

import (
	"context"
	"time"
)

// transport makes the calls of one controller. Each call has its own timeout, and its error is a *failure.
type transport interface {
	register(ctx context.Context) (callResponse, error)
	heartbeat(ctx context.Context, r heartbeatReport) (callResponse, error)
	deregister(ctx context.Context) error
	// close waits until none of its goroutines runs any more.
	close()
}

// heartbeatReport is the content of a heartbeat.
type heartbeatReport struct {
	isComprehensive bool
	load            Load
	health          Health
}

// method returns the name of the RPC for the heartbeat.
func (r heartbeatReport) method() string {
	if r.isComprehensive {
		return methodComprehensive
	}
	return methodFast
}

// callResponse is what the Global Controller returns for a registration or a heartbeat that it has accepted.
type callResponse struct {
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
