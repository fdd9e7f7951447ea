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

// maxAnswerBytes bounds what is read of an answer.
const maxAnswerBytes = 64 << 10

// Fetch gets a token from the token endpoint of an auth controller, and says how long it lives.
func Fetch(ctx context.Context, address string, client Client) (token string, life time.Duration, err error) {
	body, err := json.Marshal(tokenRequest{GrantType: "client_credentials", ClientID: client.ID, ClientSecret: string(client.Secret)})
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
	var answer tokenAnswer
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(&answer); err != nil || answer.AccessToken == "" {
		return "", 0, errors.New("get token: the answer holds none")
	}
	return answer.AccessToken, time.Duration(answer.ExpiresIn) * time.Second, nil
}
