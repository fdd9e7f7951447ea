package operatorcli

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/pkg/client"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	// retryFor is how long a read is tried again: as long as a restart behind a load balancer takes.
	retryFor   = 2 * time.Second
	firstPause = 100 * time.Millisecond
	longPause  = 2 * time.Second
	// most is the largest page that there is.
	most = 1000
	// maxPages bounds what is read: a server that never ends its pages must not be read for ever.
	maxPages = 10_000
)

// session is a connection to a Global Controller, with tokens.
type session struct {
	tool   *tool
	target target
	conn   *grpc.ClientConn
	fleet  pb.FleetServiceClient
	tokens client.TokenSource
	close  func()
}

// open makes a session. It calls nobody yet.
func (t *tool) open(change bool) (*session, error) {
	to, err := t.resolve(change)
	if err != nil {
		return nil, err
	}
	if change && to.dev && t.ErrTerminal {
		t.note("no context is set: this is the stack of gcctl dev at %s, as %s", to.address, to.tokens.id)
	}
	if to.tls != nil && to.tls.Insecure {
		t.warn("the certificate of %s is not verified (tls.insecure)", to.address)
	}
	return t.openTarget(to)
}

func (t *tool) openTarget(to target) (*session, error) {
	tokens, closeTokens, err := t.tokenSource(to.tokens)
	if err != nil {
		return nil, err
	}
	conn, err := to.dial()
	if err != nil {
		closeTokens()
		return nil, err
	}
	return &session{tool: t, target: to, conn: conn, fleet: pb.NewFleetServiceClient(conn), tokens: tokens, close: func() {
		_ = conn.Close()
		closeTokens()
	}}, nil
}

// dial makes a connection that connects with the first call.
func (to target) dial() (*grpc.ClientConn, error) {
	config, err := to.tls.config()
	if err != nil {
		return nil, err
	}
	security := insecure.NewCredentials()
	if config != nil {
		security = grpccredentials.NewTLS(config)
	}
	scheme := "dns:///"
	if host, _, err := net.SplitHostPort(to.address); err == nil && net.ParseIP(host) != nil {
		scheme = "passthrough:///"
	}
	retries := backoff.DefaultConfig
	retries.MaxDelay = longPause
	conn, err := grpc.NewClient(scheme+to.address, grpc.WithConnectParams(grpc.ConnectParams{Backoff: retries, MinConnectTimeout: 5 * time.Second}), grpc.WithTransportCredentials(security), grpc.WithDisableServiceConfig(),
		// Notices during a watch that the other side is gone without a word. A Global Controller allows a ping every 5 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}))
	if err != nil {
		return nil, wrongUse("the address %s: %v", clean(to.address), err)
	}
	return conn, nil
}

// tokenSource also warns of secrets that others may read.
func (t *tool) tokenSource(c credentials) (client.TokenSource, func(), error) {
	for _, path := range []string{c.tokenFile, c.secretFile} {
		if path != "" && openToOthers(path) {
			t.warn("others can read the secret in %s; chmod 600 %s", path, path)
		}
	}
	var err error
	if c.tokenFile != "" {
		if c.token, err = readSecret(c.tokenFile); err != nil {
			return nil, nil, err
		}
	}
	if c.token != "" {
		return client.StaticToken(string(c.token)), func() {}, nil
	}
	if c.secretFile != "" {
		if c.secret, err = readSecret(c.secretFile); err != nil {
			return nil, nil, err
		}
	}
	caller, err := c.client(t.flags.timeout)
	if err != nil {
		return nil, nil, err
	}
	source, err := client.NewTokenSource(client.TokenConfig{URL: c.url, ClientID: c.id, ClientSecret: c.secret, Scope: c.scope, HTTPClient: caller})
	if err != nil {
		return nil, nil, wrongUse("%v", err)
	}
	return source, source.Close, nil
}

// token gets one, and says in words when there is none.
func (s *session) token(ctx context.Context) (string, error) {
	token, err := s.tokens.Token(ctx)
	if err == nil {
		return token, nil
	}
	if isInterrupt(ctx) {
		return "", ErrInterrupted
	}
	c := s.target.tokens
	if strings.Contains(err.Error(), "status 4") {
		return "", failed(ExitNoAccess, "the auth controller at %s gives the client %s no token (%v): are its id, secret and scope right?", c.url, clean(c.id), err)
	}
	return "", &Failure{ExitUnavailable, fmt.Sprintf("the auth controller at %s gives no token (%v)", c.url, err), adviceFor(s.target.dev)}
}

// withToken puts the token into a call's metadata.
func (s *session) withToken(ctx context.Context) (context.Context, error) {
	token, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), nil
}

// read makes a call that changes nothing, and makes it again for a short while when nobody is there.
func read[In, Out any](ctx context.Context, s *session, id string, in In, method func(context.Context, In, ...grpc.CallOption) (Out, error)) (Out, error) {
	return readAs(ctx, s, call{id: id, scope: "gc:read"}, in, method)
}

func readAs[In, Out any](ctx context.Context, s *session, c call, in In, method func(context.Context, In, ...grpc.CallOption) (Out, error)) (Out, error) {
	c.address, c.dev = s.target.address, s.target.dev
	began := time.Now()
	for pause := firstPause; ; pause *= 2 {
		out, err := once(ctx, s, in, method)
		if err == nil {
			return out, nil
		}
		if status.Code(err) == codes.Unavailable && time.Since(began)+pause < min(retryFor, s.tool.flags.timeout) && sleep(ctx, pause) {
			continue
		}
		return out, c.orFailure(ctx, err)
	}
}

// change makes a call that changes something, once: it may have been done although no answer came.
func change[In, Out any](ctx context.Context, s *session, id string, in In, method func(context.Context, In, ...grpc.CallOption) (Out, error)) (Out, error) {
	out, err := once(ctx, s, in, method)
	if err != nil {
		return out, call{address: s.target.address, id: id, change: true, scope: "gc:admin", dev: s.target.dev}.orFailure(ctx, err)
	}
	return out, nil
}

func once[In, Out any](ctx context.Context, s *session, in In, method func(context.Context, In, ...grpc.CallOption) (Out, error)) (Out, error) {
	ctx, cancel := context.WithTimeout(ctx, s.tool.flags.timeout)
	defer cancel()
	var none Out
	ctx, err := s.withToken(ctx)
	if err != nil {
		return none, err
	}
	return method(ctx, in)
}

// orFailure leaves what is in words already.
func (c call) orFailure(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); !ok {
		return err
	}
	return c.explain(ctx, err)
}

// sleep waits, and tells whether ctx is still wanted.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// controllers reads every page.
func (s *session) controllers(ctx context.Context, region string, health pb.Health) (found []*pb.Controller, err error) {
	in := &pb.ListControllersRequest{Region: region, Health: health, PageSize: most}
	for range maxPages {
		page, err := read(ctx, s, "", in, s.fleet.ListControllers)
		if err != nil {
			return nil, err
		}
		found = append(found, page.GetControllers()...)
		if in.PageToken = page.GetNextPageToken(); in.PageToken == "" {
			return found, nil
		}
	}
	return nil, fmt.Errorf("the fleet has no end: more than %d pages", maxPages)
}
