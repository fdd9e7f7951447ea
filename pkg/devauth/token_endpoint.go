package devauth

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// maxRequestBytes limits the body of a request for a token.
const maxRequestBytes = 64 << 10

// tokenRequest and tokenResponse are the bodies of the token endpoint.
type tokenRequest struct {
	GrantType    string `json:"grant_type"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Scope        string `json:"scope,omitempty"`
}

type tokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	decoder.DisallowUnknownFields()
	var request tokenRequest
	if err := decoder.Decode(&request); err != nil {
		writeError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	if request.GrantType != "client_credentials" {
		writeError(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}

	client, isKnown := s.authenticate(request)
	if !isKnown {
		writeError(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	scopes, isAllowed := grantedScopes(client, request.Scope)
	if !isAllowed {
		writeError(w, http.StatusBadRequest, "invalid_scope")
		return
	}

	claims := map[string]any{"scope": scopes}
	if client.ServiceType != "" {
		claims["service_type"] = client.ServiceType
	}
	life := s.tokenLife()
	claims["exp"] = s.now().Add(life).Unix()
	token, err := s.Token(client.ID, claims)
	if err != nil {
		writeError(w, http.StatusInternalServerError, "server_error")
		return
	}

	writeJSON(w, http.StatusOK, tokenResponse{
		AccessToken: token,
		TokenType:   "Bearer",
		ExpiresIn:   int64(life.Seconds()),
		Scope:       scopes,
	})
}

// authenticate returns the client with the id and secret of a request.
func (s *Server) authenticate(request tokenRequest) (client Client, isKnown bool) {
	i := slices.IndexFunc(s.clients, func(c Client) bool {
		return c.ID == request.ClientID && subtle.ConstantTimeCompare([]byte(c.Secret), []byte(request.ClientSecret)) == 1
	})
	if i < 0 {
		return Client{}, false
	}
	return s.clients[i], true
}

// grantedScopes returns the requested scopes, by default all of the client's, and reports whether the client may have them.
func grantedScopes(client Client, requested string) (scopes string, isAllowed bool) {
	if requested == "" {
		return strings.Join(client.Scopes, " "), true
	}
	fields := strings.Fields(requested)
	for _, scope := range fields {
		if !slices.Contains(client.Scopes, scope) {
			return "", false
		}
	}
	return strings.Join(fields, " "), true
}
