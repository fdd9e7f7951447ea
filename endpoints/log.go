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
	// refusedLines is the number of refusals of one kind that are logged in a period.
	refusedLines = 1
	// otherLines is the same for every other outcome of a call.
	otherLines = 5
)

// OutcomeClass is the class of a call's outcome. It sets the level and the number of the lines.
type OutcomeClass uint8

const (
	// OtherOutcome is a success, or an error of the caller's request.
	OtherOutcome OutcomeClass = iota
	// AccessRefused is a refusal because of the caller's token or rate. Any client can cause it.
	AccessRefused
	// ServerFailure is an error on the server's side.
	ServerFailure
)

// LogConfig is the configuration of the log of calls.
type LogConfig struct {
	Logger log.Logger
	// Verbose logs every call. Otherwise no line is composed for calls that succeeded: there are too many heartbeats for lines that are
	// not read.
	Verbose bool
	// Sampler limits the lines if Verbose is false; nil for no limit.
	Sampler Sampler
	// Outcome returns the public code and the class of an error; nil is a success.
	Outcome func(error) (code string, class OutcomeClass)
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
	call := CallFrom(ctx)
	code, class := cfg.Outcome(err)

	leveled := level.Debug(cfg.Logger)
	switch {
	case class == ServerFailure:
		leveled = level.Error(cfg.Logger)
	case err != nil:
		leveled = level.Info(cfg.Logger)
	}

	allowance := otherLines
	if class == AccessRefused {
		allowance = refusedLines
	}

	if !cfg.Verbose && cfg.Sampler != nil {
		kind := call.Transport + " " + op.Name + " " + code
		summary := []any{"msg", "more calls", "endpoint", op.Name, "transport", call.Transport, "code", code}
		if !cfg.Sampler.ShouldLog(leveled, "calls", kind, allowance, summary...) {
			return
		}
	}

	line := []any{
		"msg", "call", "endpoint", op.Name, "transport", call.Transport, "code", code, "request_id", call.RequestID,
		"controller_id", loggedID(request), "took", took, "err", err,
	}
	if id := cfg.TraceID(ctx); id != "" {
		line = append(line, "trace_id", id)
	}
	// A failure of the log must not fail the call.
	_ = leveled.Log(line...)
}
