package devauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxResponseBytes is how many bytes of a response are read.
const maxResponseBytes = 64 << 10

// fetchToken gets a token from the token endpoint of an auth controller, and returns it with its lifetime.
func fetchToken(ctx context.Context, address string, client Client) (token string, life time.Duration, err error) {
	body, err := json.Marshal(tokenRequest{
		GrantType:    "client_credentials",
		ClientID:     client.ID,
		ClientSecret: string(client.Secret),
	})
	if err != nil {
		return "", 0, fmt.Errorf("get token: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/api/v1/auth/service/token", bytes.NewReader(body))
	if err != nil {
		return "", 0, fmt.Errorf("get token: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", 0, fmt.Errorf("get token: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("get token: status %d", response.StatusCode)
	}

	var content tokenResponse
	err = json.NewDecoder(io.LimitReader(response.Body, maxResponseBytes)).Decode(&content)
	if err != nil || content.AccessToken == "" {
		return "", 0, errors.New("get token: the response has no token")
	}
	return content.AccessToken, time.Duration(content.ExpiresIn) * time.Second, nil
}
