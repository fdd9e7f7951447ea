package endpoints

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

// fixedAuthenticator fails with err, or returns a caller with scopes.
type fixedAuthenticator struct {
	err    error
	scopes []string
}

func (r fixedAuthenticator) Authenticate(context.Context, []string) (service.Caller, error) {
	return service.Caller{Subject: "client", Scopes: r.scopes}, r.err
}

func TestAuthenticate_ReportsRefusals(t *testing.T) {
	expired := &service.RefusedError{Reason: service.RefusedExpired, Err: service.ErrUnauthenticated}
	mc := []string{"mc:register"}
	tests := []struct {
		name      string
		operation Operation
		id        string
		with      fixedAuthenticator
		next      error
		want      []string
	}{
		{
			"not verifiable",
			Operation{"FastHeartbeat", ScopeMC},
			"mc",
			fixedAuthenticator{err: fmt.Errorf("x: %w", service.ErrUnavailable)},
			nil,
			[]string{"unverifiable mc"},
		},
		{"not verifiable, with no id", Operation{"FastHeartbeat", ScopeMC}, "a.b", fixedAuthenticator{err: service.ErrUnavailable}, nil, nil},
		{"no heartbeat", Operation{"RegisterMC", ScopeMC}, "mc", fixedAuthenticator{err: service.ErrUnavailable}, nil, nil},
		{"an unknown token", Operation{"FastHeartbeat", ScopeMC}, "mc", fixedAuthenticator{err: service.ErrUnauthenticated}, nil, nil},
		{
			"a genuine token",
			Operation{"FastHeartbeat", ScopeMC},
			"mc",
			fixedAuthenticator{err: expired},
			nil,
			[]string{"refused mc token expired"},
		},
		{
			"a genuine token that registers",
			Operation{"RegisterMC", ScopeMC},
			"mc",
			fixedAuthenticator{err: expired},
			nil,
			[]string{"refused mc token expired"},
		},
		{"a genuine token of an operator", Operation{"Drain", ScopeAdmin}, "mc", fixedAuthenticator{err: expired}, nil, nil},
		{"a genuine token without an id", Operation{"FastHeartbeat", ScopeMC}, "a.b", fixedAuthenticator{err: expired}, nil, nil},
		{
			"without the scope",
			Operation{"FastHeartbeat", ScopeMC},
			"mc",
			fixedAuthenticator{},
			service.ErrForbidden,
			[]string{"refused mc access denied"},
		},
		{
			"limited",
			Operation{"FastHeartbeat", ScopeMC},
			"mc",
			fixedAuthenticator{scopes: mc},
			service.ErrRateLimited,
			[]string{"refused mc rate limit exceeded"},
		},
		{
			"invalid",
			Operation{"FastHeartbeat", ScopeMC},
			"mc",
			fixedAuthenticator{scopes: mc},
			service.Invalid("x"),
			[]string{"refused mc invalid request"},
		},
		{"not registered", Operation{"FastHeartbeat", ScopeMC}, "mc", fixedAuthenticator{scopes: mc}, service.ErrNotRegistered, nil},
		{"the store is down", Operation{"FastHeartbeat", ScopeMC}, "mc", fixedAuthenticator{scopes: mc}, service.ErrUnavailable, nil},
		{"successful", Operation{"FastHeartbeat", ScopeMC}, "mc", fixedAuthenticator{scopes: mc}, nil, nil},
	}

	for _, tc := range tests {
		var got []string
		policy := AuthPolicy{
			MCScopes:       mc,
			OnUnverifiable: func(id string) { got = append(got, "unverifiable "+id) },
			OnRefused:      func(id, reason string) { got = append(got, "refused "+id+" "+reason) },
		}

		call := Authenticate(tc.with, policy)(tc.operation)(func(context.Context, any) (any, error) { return nil, tc.next })
		_, _ = call(t.Context(), Request[service.FastHeartbeat]{Value: service.FastHeartbeat{ControllerID: tc.id}})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", tc.name, diff)
		}
	}
}

// once admits the first event of each kind.
type once map[string]int

func (o once) ShouldLog(_ log.Logger, group, kind string, allowance int, _ ...any) bool {
	o[group+" "+kind]++
	return o[group+" "+kind] <= allowance
}

func TestLog_RefusalsAreCounted(t *testing.T) {
	var lines bytes.Buffer
	outcome := func(err error) (string, OutcomeClass) {
		if errors.Is(err, service.ErrUnauthenticated) {
			return "INVALID_TOKEN", AccessRefused
		}
		return "SERVICE_UNAVAILABLE", ServerFailure
	}

	sampler, failure := once{}, service.ErrUnauthenticated
	call := Log(LogConfig{
		Logger:  log.NewLogfmtLogger(&lines),
		Sampler: sampler,
		TraceID: untraced,
		Outcome: outcome,
	})(Operation{Name: "FastHeartbeat"})(func(context.Context, any) (any, error) { return nil, failure })

	ctx := WithCall(t.Context(), &Call{Transport: "grpc"})
	for range 5000 {
		if _, err := call(ctx, nil); !errors.Is(err, failure) {
			t.Fatalf("call() = %v, want %v", err, failure)
		}
	}

	if got := strings.Count(lines.String(), "\n"); got != 1 || sampler["calls grpc FastHeartbeat INVALID_TOKEN"] != 5000 {
		t.Errorf("5000 bad tokens made %d lines, want 1; counted %v", got, sampler)
	}

	failure = service.ErrUnavailable
	for range 5000 {
		_, _ = call(ctx, nil)
	}

	if got := strings.Count(lines.String(), "\n"); got != 1+otherLines {
		t.Errorf("5000 failures made %d lines, want %d", got-1, otherLines)
	}
}
