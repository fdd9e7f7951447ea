package endpoints

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

type fakeService struct{ service.Service }

func (fakeService) RegisterMC(ctx context.Context, _ service.Registration) (service.RegistrationResponse, error) {
	if service.CallerFrom(ctx).Subject == "" {
		return service.RegistrationResponse{}, errors.New("no caller in the context")
	}
	if _, limited := ctx.Deadline(); !limited {
		return service.RegistrationResponse{}, errors.New("no deadline")
	}
	return service.RegistrationResponse{FastInterval: time.Second}, nil
}

type fakeAuthenticator map[string]service.Caller

func (f fakeAuthenticator) Authenticate(_ context.Context, authorization []string) (service.Caller, error) {
	if caller, ok := f[strings.Join(authorization, ",")]; ok {
		return caller, nil
	}
	return service.Caller{}, service.ErrUnauthenticated
}

func newTestEndpoints(policy AuthPolicy, observed *[]string) Endpoints {
	callers := fakeAuthenticator{
		"mc":       {Subject: "mc-1", Scopes: []string{"mc:register"}, ServiceType: new("meeting-controller")},
		"untyped":  {Subject: "mc-1", Scopes: []string{"x", "service.write.gc"}},
		"handler":  {Subject: "mh-1", Scopes: []string{"mc:register"}, ServiceType: new("media-handler")},
		"nameless": {Subject: "mc-1", Scopes: []string{"mc:register"}, ServiceType: new("")},
		"operator": {Subject: "op", Scopes: []string{"gc:admin"}},
	}

	outcome := func(err error) (string, OutcomeClass) {
		if err != nil {
			return "ERR", OtherOutcome
		}
		return "OK", OtherOutcome
	}

	observe := func(_ context.Context, transport, operation string, err error, _ time.Duration) {
		code, _ := outcome(err)
		*observed = append(*observed, transport+" "+operation+" "+code)
	}

	policy.MCScopes = []string{"mc:register", "service.write.gc"}
	logging := LogConfig{Logger: log.NewNopLogger(), Verbose: true, Outcome: outcome, TraceID: untraced}
	return New(fakeService{}, Chain(Observe(observe), Log(logging), Authenticate(callers, policy), Deadline(time.Second)))
}

func untraced(context.Context) string { return "" }

func TestEndpoints_AuthenticateBeforeDecodeErrors(t *testing.T) {
	decodeErr := service.Invalid("max_meetings must be a whole number")
	tests := []struct {
		name, token string
		policy      AuthPolicy
		id          string
		decodeErr   error
		want        error
	}{
		{"controller", "mc", AuthPolicy{}, "mc-9", nil, nil},
		{"token without a service type", "untyped", AuthPolicy{}, "mc-9", nil, nil},
		{"another kind of service", "handler", AuthPolicy{}, "mc-9", nil, service.ErrForbidden},
		{"an empty kind of service", "nameless", AuthPolicy{}, "mc-9", nil, service.ErrForbidden},
		{"operator", "operator", AuthPolicy{}, "mc-9", nil, service.ErrForbidden},
		{"no token", "", AuthPolicy{}, "mc-9", nil, service.ErrUnauthenticated},
		{"no token comes before bad input", "", AuthPolicy{}, "mc-9", decodeErr, service.ErrUnauthenticated},
		{"bad input", "mc", AuthPolicy{}, "mc-9", decodeErr, decodeErr},
		{"its own name", "mc", AuthPolicy{SubjectIsController: true}, "mc-1", nil, nil},
		{"another's name", "mc", AuthPolicy{SubjectIsController: true}, "mc-9", nil, service.ErrForbidden},
	}

	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var observed []string
			e := newTestEndpoints(tc.policy, &observed)
			ctx := WithCall(t.Context(), &Call{Transport: "grpc", Authorization: []string{tc.token}})
			_, err := e.RegisterMC.Call(ctx, service.Registration{ControllerID: tc.id}, tc.decodeErr)
			if !errors.Is(err, tc.want) {
				t.Errorf("RegisterMC error = %v, want %v", err, tc.want)
			}

			want := "grpc RegisterMC OK"
			if tc.want != nil {
				want = "grpc RegisterMC ERR"
			}

			if len(observed) != 1 || observed[0] != want {
				t.Errorf("observed %q, want [%q]: observers see refusals", observed, want)
			}
		})
	}
}

func TestObserve_PanicPasses(t *testing.T) {
	observed := errors.New("nothing was observed")
	failing := Observe(func(_ context.Context, _, _ string, err error, _ time.Duration) { observed = err })(Operation{Name: "RegisterMC"})(
		func(context.Context, any) (any, error) { panic("on purpose") },
	)

	passed := func() (cause any) {
		defer func() { cause = recover() }()
		_, _ = failing(t.Context(), nil)
		return nil
	}()
	if passed != "on purpose" {
		t.Errorf("the panic became %v, want it to pass: the transport reports it", passed)
	}
	if !errors.Is(observed, errPanicked) {
		t.Errorf("observed %v, want errPanicked", observed)
	}
}

func TestDeadline_EarlierDeadlineKeepsItsTimer(t *testing.T) {
	var got context.Context
	limited := Deadline(time.Minute)(Operation{})(func(ctx context.Context, _ any) (any, error) {
		got = ctx
		return "done", nil
	})

	until := func() time.Duration {
		at, ok := got.Deadline()
		if !ok {
			t.Fatal("no deadline")
		}
		return time.Until(at)
	}

	_, _ = limited(t.Context(), nil)
	if left := until(); left > time.Minute || left < 30*time.Second {
		t.Errorf("without a deadline of its own a call has %v left, want a minute", left)
	}

	longer, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	_, _ = limited(longer, nil)
	if left := until(); left > time.Minute {
		t.Errorf("with a longer deadline a call has %v left, want a minute", left)
	}

	sooner, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	if _, _ = limited(sooner, nil); got != sooner {
		t.Error("a call that ends sooner got a second timer")
	}
}

func TestAuthPolicy_ScopeOfOperation(t *testing.T) {
	policy := AuthPolicy{}
	tests := []struct {
		scopes []string
		scope  Scope
		want   bool
	}{
		{[]string{"gc:read"}, ScopeRead, true},
		{[]string{"gc:admin"}, ScopeRead, true},
		{[]string{"gc:read"}, ScopeAdmin, false},
		{[]string{"gc:admin"}, ScopeAdmin, true},
		{nil, ScopeRead, false},
		{[]string{"gc:admin"}, "undeclared", false},
	}

	for _, tc := range tests {
		if got := policy.isAllowed(service.Caller{Scopes: tc.scopes}, tc.scope); got != tc.want {
			t.Errorf("isAllowed(%v, %s) = %v, want %v", tc.scopes, tc.scope, got, tc.want)
		}
	}
}

func TestOperations_HaveEndpointMethodAndScope(t *testing.T) {
	nothing := func(Operation) endpoint.Middleware { return func(e endpoint.Endpoint) endpoint.Endpoint { return e } }
	value := reflect.ValueOf(New(fakeService{}, nothing))
	methods := reflect.TypeFor[service.Service]()
	names := OperationNames()
	for i := range value.NumField() {
		if name := value.Type().Field(i).Name; !slices.Contains(names, name) {
			t.Errorf("endpoint %s is no operation: add it to Operations with its scope", name)
		}
	}
	for i := range methods.NumMethod() {
		if name := methods.Method(i).Name; !slices.Contains(names, name) {
			t.Errorf("method %s of service.Service is no operation: add it to Endpoints, New and Operations", name)
		}
	}

	known := []Scope{ScopeMC, ScopeRead, ScopeAdmin, ScopeSelf, ScopeAssign, ScopeReadAssign}
	for _, op := range Operations() {
		if field := value.FieldByName(op.Name); !field.IsValid() || field.IsNil() {
			t.Errorf("operation %s has no endpoint: add its field to Endpoints and its line to New", op.Name)
		}
		if _, ok := methods.MethodByName(op.Name); !ok {
			t.Errorf("operation %s has no method in service.Service", op.Name)
		}
		if !slices.Contains(known, op.Scope) {
			t.Errorf("operation %s declares no known scope: %q", op.Name, op.Scope)
		}
	}
}
