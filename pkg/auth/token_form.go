package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
)

const maxTokenBytes = 8192

// bearerToken returns the token of an authorization header, which must have exactly one value.
func bearerToken(authorization []string) (string, error) {
	if len(authorization) != 1 {
		return "", newRefusal("not exactly one authorization header")
	}

	// The name of the scheme is case-insensitive, and any number of spaces may follow (RFC 9110, section 11.4).
	scheme, rest, _ := strings.Cut(authorization[0], " ")
	token := strings.TrimLeft(rest, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", newRefusal("no bearer token")
	case len(token) > maxTokenBytes:
		return "", newRefusal("the token is too long")
	}
	return token, nil
}

// parseForm returns the key id of a token. It refuses a token that two parsers may read differently, before any key is looked
// up.
func parseForm(token string) (string, error) {
	encodedHeader, rest, _ := strings.Cut(token, ".")
	_, signature, _ := strings.Cut(rest, ".")
	switch {
	case strings.Count(token, ".") != 2:
		return "", newRefusal("the token does not have three parts")
	case !isBase64URL(token):
		return "", newRefusal("the token is not base64url")
	case len(signature) != base64.RawURLEncoding.EncodedLen(ed25519.SignatureSize):
		return "", newRefusal("the signature does not have the size of one")
	}

	raw, err := decodeBase64Strictly(encodedHeader)
	if err != nil {
		return "", newRefusal("the header is malformed")
	}
	var header struct {
		Alg  string `json:"alg"`
		Kid  string `json:"kid"`
		Crit any    `json:"crit"`
	}

	// This decoder refuses duplicate names and is case-sensitive.
	if err := json.Unmarshal(raw, &header); err != nil || header.Alg != "EdDSA" || header.Kid == "" || header.Crit != nil {
		return "", newRefusal("the header is invalid")
	}
	return header.Kid, nil
}

// isBase64URL reports whether the parts of a token have only characters of the base64url alphabet. Go's decoders, including
// strict ones, skip line breaks, so that one signature would have many forms.
func isBase64URL(token string) bool {
	for i := range len(token) {
		c := token[i]
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func decodeBase64Strictly(s string) ([]byte, error) {
	return jwt.NewParser(jwt.WithStrictDecoding()).DecodeSegment(s)
}
