package endpoints

import (
	"context"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// Sampler bounds what is written to a log. Admit reports whether the caller is to write an event itself: the first ones of a
// kind in a period are; the others are counted, and logger gets summary with their count later.
type Sampler interface {
	Admit(logger log.Logger, group, kind string, allowance int, summary ...any) bool
}

const (
	// refusedLines is how many refusals of one kind are logged in a period. Any client can cause them.
	refusedLines = 1
	// otherLines is the same for every other end of a call.
	otherLines = 5
)

// LogConfig is the configuration of the log of calls.
type LogConfig struct {
	Logger log.Logger
	// Verbose has every call written. Otherwise nothing is put together for what succeeded: heartbeats are too many for lines
	// that are not read.
	Verbose bool
	// Sampler bounds the lines unless Verbose is set; nil for no bound.
	Sampler Sampler
	// Code names an error's class; "INTERNAL_ERROR" and "SERVICE_UNAVAILABLE" are failures of this service.
	Code func(error) string
	// TraceID names the trace that a call belongs to, empty for none.
	TraceID func(context.Context) string
}

// Log writes one line for each call: what succeeded at debug, what was refused at info, and what this service could not do at
// error. Of calls that end alike only the first few are written; the others are counted.
func Log(cfg LogConfig) Middleware {
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (response any, err error) {
				began := time.Now()
				response, err = next(ctx, request)
				if err != nil || cfg.Verbose {
					cfg.write(ctx, op, request, err, time.Since(began))
				}
				return response, err
			}
		}
	}
}

func (cfg LogConfig) write(ctx context.Context, op Operation, request any, err error, took time.Duration) {
	call, name := CallFrom(ctx), cfg.Code(err)
	leveled, allowance := level.Debug(cfg.Logger), otherLines
	switch {
	case name == "INTERNAL_ERROR" || name == "SERVICE_UNAVAILABLE":
		leveled = level.Error(cfg.Logger)
	case err != nil:
		leveled = level.Info(cfg.Logger)
	}
	switch name {
	case "INVALID_TOKEN", "FORBIDDEN", "RATE_LIMIT_EXCEEDED":
		allowance = refusedLines
	}

	if !cfg.Verbose && cfg.Sampler != nil {
		kind := call.Transport + " " + op.Name + " " + name
		summary := []any{"msg", "more calls", "endpoint", op.Name, "transport", call.Transport, "code", name}
		if !cfg.Sampler.Admit(leveled, "calls", kind, allowance, summary...) {
			return
		}
	}

	line := []any{
		"msg", "call", "endpoint", op.Name, "transport", call.Transport, "code", name, "request_id", call.RequestID,
		"controller_id", loggedID(request), "took", took, "err", err,
	}
	if id := cfg.TraceID(ctx); id != "" {
		line = append(line, "trace_id", id)
	}
	// A log that cannot be written is no reason to fail a call.
	_ = leveled.Log(line...)
}
