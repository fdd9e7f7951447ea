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
	// maxTokenBytes is what Global Controllers accept.
	maxTokenBytes  = 8192
	maxAnswerBytes = 64 << 10
	// maxTokenLife is the longest life that is believed: a token is renewed once a day at least.
	maxTokenLife = 24 * time.Hour
	maxRedirects = 3
)

var errRedirect = errors.New("redirected to another host")

type tokenRequest struct {
	GrantType    string `json:"grant_type"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Scope        string `json:"scope,omitempty"`
}

type tokenAnswer struct {
	AccessToken string  `json:"access_token"`
	TokenType   string  `json:"token_type"`
	ExpiresIn   float64 `json:"expires_in"`
}

// tokenClient is a client that takes the secret to no other host.
func tokenClient(given *http.Client, base *url.URL) *http.Client {
	client := &http.Client{}
	if given != nil {
		*client = *given
	} else {
		// A connection for one call an hour is not worth keeping.
		client.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: fetchTimeout, MaxResponseHeaderBytes: maxAnswerBytes,
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

// fetch asks the auth controller once. Its errors never quote what it answered, which may be anything.
func (c *ClientCredentials) fetch(ctx context.Context) (string, time.Duration, error) {
	body, err := json.Marshal(tokenRequest{
		GrantType: "client_credentials", ClientID: c.cfg.ClientID, ClientSecret: c.secret.open(), Scope: c.cfg.Scope,
	})
	if err != nil {
		return "", 0, fmt.Errorf("get token: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL+tokenPath, bytes.NewReader(body))
	if err != nil {
		return "", 0, fmt.Errorf("get token: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return "", 0, fmt.Errorf("get token: %w", exchangeError(err))
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("get token: status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return "", 0, fmt.Errorf("get token: %w", exchangeError(err))
	}
	token, lasts, err := readToken(text)
	if err != nil {
		return "", 0, fmt.Errorf("get token: %w", err)
	}
	return token, lasts, nil
}

// exchangeError keeps of an error what cannot have come from the other side: net/http quotes an answer that it cannot
// read.
func exchangeError(err error) error {
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
		return errors.New("the exchange broke off, or was not HTTP")
	}
}

func readToken(text []byte) (string, time.Duration, error) {
	if len(text) > maxAnswerBytes {
		return "", 0, errors.New("the answer is too long")
	}
	var a tokenAnswer
	if err := json.Unmarshal(text, &a); err != nil {
		return "", 0, errors.New("the answer is not JSON of the right form") // The error may quote it.
	}
	switch {
	case a.AccessToken == "":
		return "", 0, errors.New("the answer holds no access_token")
	case len(a.AccessToken) > maxTokenBytes:
		return "", 0, errors.New("the access_token is too long")
	case strings.ContainsFunc(a.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", 0, errors.New("the access_token is not fit for a header")
	case !strings.EqualFold(a.TokenType, "Bearer"):
		return "", 0, errors.New("the token_type is not Bearer")
	case a.ExpiresIn <= 0:
		return "", 0, errors.New("the expires_in is not above 0")
	}
	lasts := maxTokenLife
	if a.ExpiresIn < maxTokenLife.Seconds() {
		lasts = time.Duration(a.ExpiresIn * float64(time.Second))
	}
	return a.AccessToken, lasts, nil
}
