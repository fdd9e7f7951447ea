package operatorcli

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/pkg/client"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// connection is a gRPC connection to a Global Controller, with a source of tokens.
type connection struct {
	cli    *cli
	target target
	conn   *grpc.ClientConn
	fleet  pb.FleetServiceClient
	tokens client.TokenSource
	close  func()
}

// connect returns a connection to the target that flags, environment and context name. It makes no call yet. forChange is set by
// commands that change something.
func (c *cli) connect(forChange bool) (*connection, error) {
	to, err := c.resolveTarget(forChange)
	if err != nil {
		return nil, err
	}

	if forChange && to.isDevStack && c.ErrTerminal {
		c.note("no context is set: this is the stack of gcctl dev at %s, as client %s", to.address, to.credentials.clientID)
	}
	if to.tls != nil && to.tls.Insecure {
		c.warn("the certificate of %s is not verified (tls.insecure)", to.address)
	}
	return c.connectTo(to)
}

func (c *cli) connectTo(to target) (*connection, error) {
	tokens, closeTokens, err := c.newTokenSource(to.credentials)
	if err != nil {
		return nil, err
	}

	conn, err := to.dial()
	if err != nil {
		closeTokens()
		return nil, err
	}

	return &connection{
		cli:    c,
		target: to,
		conn:   conn,
		fleet:  pb.NewFleetServiceClient(conn),
		tokens: tokens,
		close: func() {
			_ = conn.Close()
			closeTokens()
		},
	}, nil
}

// dial returns a gRPC connection, which is established with the first call.
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

	reconnect := backoff.DefaultConfig
	reconnect.MaxDelay = maxRetryPause
	conn, err := grpc.NewClient(scheme+to.address,
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: 5 * time.Second}),
		grpc.WithTransportCredentials(security),
		grpc.WithDisableServiceConfig(),
		// Pings detect during a watch that the server is gone. A Global Controller allows one every 5 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}))
	if err != nil {
		return nil, usageError("the address %s: %v", clean(to.address), err)
	}
	return conn, nil
}

// newTokenSource returns a source of tokens and the function that closes it. It warns about secrets that other users can read.
func (c *cli) newTokenSource(from credentials) (source client.TokenSource, closeSource func(), err error) {
	for _, path := range []string{from.tokenFile, from.secretFile} {
		if path != "" && isReadableByOthers(path) {
			c.warn("other users can read the secret in %s; run chmod 600 %s", path, path)
		}
	}

	if from.tokenFile != "" {
		if from.token, err = readSecret(from.tokenFile); err != nil {
			return nil, nil, err
		}
	}
	if from.token != "" {
		return client.StaticToken(string(from.token)), func() {}, nil
	}

	if from.secretFile != "" {
		if from.secret, err = readSecret(from.secretFile); err != nil {
			return nil, nil, err
		}
	}
	httpClient, err := from.httpClient(c.flags.timeout)
	if err != nil {
		return nil, nil, err
	}

	tokens, err := client.NewTokenSource(client.TokenConfig{
		URL:          from.acURL,
		ClientID:     from.clientID,
		ClientSecret: from.secret,
		Scope:        from.scope,
		HTTPClient:   httpClient,
	})
	if err != nil {
		return nil, nil, usageError("%v", err)
	}
	return tokens, tokens.Close, nil
}

// token returns a token. If the auth controller issues none, the error is a [Failure].
func (conn *connection) token(ctx context.Context) (string, error) {
	token, err := conn.tokens.Token(ctx)
	if err == nil {
		return token, nil
	}
	if isInterrupted(ctx) {
		return "", ErrInterrupted
	}

	from := conn.target.credentials
	if strings.Contains(err.Error(), "status 4") {
		return "", newFailure(ExitNoAccess, "the auth controller at %s issues no token to client %s (%v): check its id, secret and scope",
			from.acURL, clean(from.clientID), err)
	}
	return "", &Failure{
		Code:    ExitUnavailable,
		Message: fmt.Sprintf("the auth controller at %s issues no token (%v)", from.acURL, err),
		Advice:  unavailableAdvice(conn.target.isDevStack),
	}
}

// withToken returns a context with the token in the metadata of calls.
func (conn *connection) withToken(ctx context.Context) (context.Context, error) {
	token, err := conn.token(ctx)
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), nil
}
