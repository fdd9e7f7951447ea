package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	tokenPath = "/api/v1/auth/service/token" //nolint:gosec // It is a path.
	// maxTokenBytes is the longest token that a Global Controller accepts.
	maxTokenBytes    = 8192
	maxResponseBytes = 64 << 10
	// maxTokenLifetime limits the lifetime that a response states: a token is renewed at least once a day.
	maxTokenLifetime = 24 * time.Hour
	maxRedirects     = 3
)

var errRedirect = errors.New("redirected to another host")

type tokenRequest struct {
	GrantType    string `json:"grant_type"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Scope        string `json:"scope,omitempty"`
}

type tokenResponse struct {
	AccessToken string  `json:"access_token"`
	TokenType   string  `json:"token_type"`
	ExpiresIn   float64 `json:"expires_in"`
}

// newTokenHTTPClient returns a copy of the given client, or a default client. It follows no redirect to another host, so that
// the secret is never sent there.
func newTokenHTTPClient(given *http.Client, base *url.URL) *http.Client {
	client := &http.Client{}
	if given != nil {
		*client = *given
	} else {
		client.Transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DisableKeepAlives:      true, // There is one call an hour.
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    fetchTimeout,
			MaxResponseHeaderBytes: maxResponseBytes,
		}
	}

	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if next.URL.Host != base.Host || next.URL.Scheme != base.Scheme || len(via) > maxRedirects {
			return errRedirect
		}
		return nil
	}
	return client
}

// requestToken sends one request to the auth controller. Its errors never quote the response, which may hold anything.
func (c *ClientCredentials) requestToken(ctx context.Context) (token string, lifetime time.Duration, err error) {
	body, err := json.Marshal(tokenRequest{
		GrantType:    "client_credentials",
		ClientID:     c.cfg.ClientID,
		ClientSecret: c.secret.open(),
		Scope:        c.cfg.Scope,
	})
	if err != nil {
		return "", 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL+tokenPath, bytes.NewReader(body))
	if err != nil {
		return "", 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")

	response, err := c.httpClient.Do(request)
	if err != nil {
		return "", 0, sanitizeError(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("status %d", response.StatusCode)
	}

	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponseBytes+1))
	if err != nil {
		return "", 0, sanitizeError(err)
	}
	return parseToken(text)
}

// sanitizeError removes from an error what may come from the server: net/http quotes a response that it cannot read.
func sanitizeError(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, errRedirect):
		return errRedirect
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &op) && op.Op == "dial":
		return op
	default:
		return errors.New("the connection was lost, or the response was not HTTP")
	}
}

func parseToken(text []byte) (token string, lifetime time.Duration, err error) {
	if len(text) > maxResponseBytes {
		return "", 0, fmt.Errorf("the response is longer than %d bytes", maxResponseBytes)
	}
	var response tokenResponse
	if err := json.Unmarshal(text, &response); err != nil {
		return "", 0, errors.New("the response is not JSON of the expected form") // The decoder's error may quote it.
	}

	switch {
	case response.AccessToken == "":
		return "", 0, errors.New("the response has no access_token")
	case len(response.AccessToken) > maxTokenBytes:
		return "", 0, fmt.Errorf("the access_token is longer than %d bytes", maxTokenBytes)
	case strings.ContainsFunc(response.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", 0, errors.New("the access_token has characters that a header cannot carry")
	case !strings.EqualFold(response.TokenType, "Bearer"):
		return "", 0, errors.New("the token_type is not Bearer")
	case response.ExpiresIn <= 0:
		return "", 0, errors.New("the expires_in is not above 0")
	}

	lifetime = maxTokenLifetime
	if response.ExpiresIn < maxTokenLifetime.Seconds() {
		lifetime = time.Duration(response.ExpiresIn * float64(time.Second))
	}
	return response.AccessToken, lifetime, nil
}
