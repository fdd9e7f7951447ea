package loglimit

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"
)

func TestLimiter_FirstEventsAndCounts(t *testing.T) {
	var out bytes.Buffer
	logger, l := log.NewLogfmtLogger(&out), New(time.Minute)
	logged := 0

	for range 5000 {
		if l.ShouldLog(logger, "calls", "FastHeartbeat INVALID_TOKEN", 1, "msg", "calls refused", "code", "INVALID_TOKEN") {
			logged++
		}
	}
	// The first event of another kind has its own allowance.
	if !l.ShouldLog(logger, "calls", "RegisterMC INVALID_TOKEN", 1, "msg", "calls refused") {
		t.Error("ShouldLog() of the first of another kind = false")
	}
	if out.Len() > 0 || logged != 1 {
		t.Errorf("%d of 5000 logged, log %q, want one logged and an empty log", logged, out.String())
	}

	l.Flush()
	if want := "msg=\"calls refused\" code=INVALID_TOKEN count=4999 within=1m0s\n"; out.String() != want {
		t.Errorf("log = %q, want %q", out.String(), want)
	}

	l.Flush()
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("log = %q, want no further line, because no event happened", out.String())
	}
	if !l.ShouldLog(logger, "calls", "FastHeartbeat INVALID_TOKEN", 1) {
		t.Error("ShouldLog() in the next period = false")
	}
}

func TestLimiter_KindsAreLimited(t *testing.T) {
	var out bytes.Buffer
	logger, l := log.NewLogfmtLogger(&out), New(time.Minute)
	logged := 0

	for i := range 100_000 {
		peer := fmt.Sprintf("peer-%d", i)
		if l.ShouldLog(logger, "peers", peer, 1, "msg", "unknown service", "peer", peer) {
			logged++
		}
	}
	if logged != maxKinds || len(l.groups["peers"]) != maxKinds+1 {
		t.Errorf("%d lines and %d kinds, want %d and one more", logged, len(l.groups["peers"]), maxKinds)
	}

	l.Flush()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "among=others count=99872") {
		t.Errorf("log = %q, want one line for all other kinds", got)
	}
}

func TestLimiter_Run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger, l := log.NewLogfmtLogger(&out), New(time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		ended, after := make(chan error), 0
		go func() { ended <- l.Run(ctx, func() { after++ }) }()
		addEvent := func() { l.ShouldLog(logger, "g", "k", 0, "msg", "x") }

		addEvent()
		time.Sleep(time.Minute)
		synctest.Wait()
		if after != 1 || out.Len() == 0 {
			t.Errorf("after a period: %d calls, log %q, want one of each", after, out.String())
		}

		addEvent()
		cancel()
		if err := <-ended; err != nil || strings.Count(out.String(), "\n") != 2 {
			t.Errorf("Run() = %v, log %q, want the remaining count written at the end", err, out.String())
		}
	})
}
