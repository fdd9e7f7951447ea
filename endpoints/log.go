package endpoints

import (
	"context"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// Sampler limits the lines of a log. ShouldLog reports whether the caller must write an event itself, which is the case for the first
// events of a kind in a period. The others are counted, and logger later gets summary with their count.
type Sampler interface {
	ShouldLog(logger log.Logger, group, kind string, allowance int, summary ...any) bool
}

const (
	// refusedLines is the number of refusals of one kind that are logged in a period. Any client can cause them.
	refusedLines = 1
	// otherLines is the same for every other outcome of a call.
	otherLines = 5
)

// LogConfig is the configuration of the log of calls.
type LogConfig struct {
	Logger log.Logger
	// Verbose logs every call. Otherwise no line is composed for calls that succeeded: there are too many heartbeats for lines that are
	// not read.
	Verbose bool
	// Sampler limits the lines if Verbose is false; nil for no limit.
	Sampler Sampler
	// Code returns the public code of an error. "INTERNAL_ERROR" and "SERVICE_UNAVAILABLE" are server-side failures.
	Code func(error) string
	// TraceID returns the trace of a call, empty for none.
	TraceID func(context.Context) string
}

// Log writes one line for each call: successes at debug, refusals at info, and server-side failures at error. Of calls with the same
// outcome only the first few are written; the others are counted.
func Log(cfg LogConfig) Middleware {
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (response any, err error) {
				began := time.Now()
				response, err = next(ctx, request)
				if err != nil || cfg.Verbose {
					cfg.writeLine(ctx, op, request, err, time.Since(began))
				}
				return response, err
			}
		}
	}
}

// writeLine writes the line of one call.
func (cfg LogConfig) writeLine(ctx context.Context, op Operation, request any, err error, took time.Duration) {
	call, name := CallFrom(ctx), cfg.Code(err)

	leveled := level.Debug(cfg.Logger)
	switch {
	case name == "INTERNAL_ERROR" || name == "SERVICE_UNAVAILABLE":
		leveled = level.Error(cfg.Logger)
	case err != nil:
		leveled = level.Info(cfg.Logger)
	}

	allowance := otherLines
	switch name {
	case "INVALID_TOKEN", "FORBIDDEN", "RATE_LIMIT_EXCEEDED":
		allowance = refusedLines
	}

	if !cfg.Verbose && cfg.Sampler != nil {
		kind := call.Transport + " " + op.Name + " " + name
		summary := []any{"msg", "more calls", "endpoint", op.Name, "transport", call.Transport, "code", name}
		if !cfg.Sampler.ShouldLog(leveled, "calls", kind, allowance, summary...) {
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
	// A failure of the log must not fail the call.
	_ = leveled.Log(line...)
}
