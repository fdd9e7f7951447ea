package httptransport

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

// inputError is the error of an input that could not be decoded. It has its own HTTP status and wraps a [service.InvalidError].
type inputError struct {
	status  int
	message string
}

func (e *inputError) Error() string { return e.message }
func (e *inputError) Unwrap() error { return service.Invalid(e.message) }

func badInput(message string) error { return &inputError{http.StatusBadRequest, message} }

type errorBody struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// writeError writes the public form of an error.
func writeError(w http.ResponseWriter, err error) {
	s := transport.StatusOf(err)
	var input *inputError
	if errors.As(err, &input) {
		s.HTTP = input.status
	}
	switch s.HTTP {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusUnsupportedMediaType:
		w.Header().Set("Accept-Encoding", "identity") // RFC 9110, section 15.5.16.
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(s.RetryAfter.Seconds())))))
	}
	writeErrorBody(w, s.HTTP, s.Name, s.Message)
}

func writeErrorBody(w http.ResponseWriter, status int, code, message string) {
	var body errorBody
	body.Error.Code, body.Error.Message = code, message
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":{"code":"INTERNAL_ERROR","message":"Internal error"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The error is ignored: it means that the caller has gone.
	_, _ = w.Write(append(data, '\n'))
}
