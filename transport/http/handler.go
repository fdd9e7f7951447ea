// Package httptransport serves the endpoints as JSON over HTTP, for tools and for the web page.
package httptransport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	kithttp "github.com/go-kit/kit/transport/http"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

const (
	maxBodyBytes = 64 << 10
	// maxShownNameBytes limits the length of a caller's text in an error.
	maxShownNameBytes = 64
	// httpCallTimeout limits the time of a call from its start. Deployed controllers give up after 10 s. The timeout is one second
	// shorter, so that they receive the error.
	httpCallTimeout = 9 * time.Second
)

// handle serves an endpoint. An error of decode is passed to the endpoint, which returns it after the middleware ran.
func handle[Req, Resp any](
	e endpoints.Endpoint[Req, Resp], decode func(*http.Request) (Req, error), encode func(Resp) any,
) http.Handler {
	return kithttp.NewServer(
		func(ctx context.Context, request any) (any, error) {
			r := request.(endpoints.Request[Req]) //nolint:forcetypeassert // The decoder below returns it.
			return e.Call(ctx, r.Value, r.DecodeErr)
		},
		func(_ context.Context, r *http.Request) (any, error) {
			value, err := decode(r)
			return endpoints.Request[Req]{Value: value, DecodeErr: err}, nil
		},
		func(_ context.Context, w http.ResponseWriter, response any) error {
			writeJSON(w, http.StatusOK, encode(response.(Resp))) //nolint:forcetypeassert // The endpoint above returns it.
			return nil
		},
		kithttp.ServerErrorEncoder(func(_ context.Context, err error, w http.ResponseWriter) { writeError(w, err) }),
	)
}

// inputError is the error of an input that could not be decoded. It has its own HTTP status and wraps a [service.InvalidError].
type inputError struct {
	status  int
	message string
}

func (e *inputError) Error() string { return e.message }
func (e *inputError) Unwrap() error { return service.Invalid(e.message) }

func badInput(message string) error { return &inputError{http.StatusBadRequest, message} }

// fromBody reads a JSON object strictly: it refuses unknown and repeated names by name, and any text after the object.
func fromBody(r *http.Request, into any) error {
	if err := checkContentHeaders(r.Header); err != nil {
		return err
	}
	err := json.UnmarshalRead(http.MaxBytesReader(nil, r.Body, maxBodyBytes), into, json.RejectUnknownMembers(true))
	if err != nil {
		return bodyError(err)
	}
	return nil
}

// checkContentHeaders refuses bodies that are not plain JSON.
func checkContentHeaders(header http.Header) error {
	if contentType := header.Get("Content-Type"); contentType != "" {
		media, _, _ := strings.Cut(contentType, ";")
		if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
			return &inputError{http.StatusUnsupportedMediaType, "Content-Type must be application/json"}
		}
	}
	for _, encodings := range header.Values("Content-Encoding") {
		for encoding := range strings.SplitSeq(encodings, ",") {
			if encoding = strings.TrimSpace(encoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
				return &inputError{http.StatusUnsupportedMediaType, "Content-Encoding must be identity: send the body uncompressed"}
			}
		}
	}
	return nil
}

// bodyError converts an error of the JSON decoder to one that names the field.
func bodyError(err error) error {
	var (
		tooLarge *http.MaxBytesError
		semantic *json.SemanticError
		syntax   *jsontext.SyntacticError
	)

	switch {
	case errors.As(err, &tooLarge):
		return &inputError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBodyBytes)}
	case errors.As(err, &semantic):
		return fieldError(err, semantic)
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return badInput("repeated field " + fieldName(syntax.JSONPointer))
	default:
		return badInput("the body is not a JSON object")
	}
}

// fieldError returns the error for a field that is unknown or has an invalid value.
func fieldError(err error, semantic *json.SemanticError) error {
	var invalid *service.InvalidError
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return badInput("unknown field " + fieldName(semantic.JSONPointer))
	case errors.As(err, &invalid):
		return badInput(invalid.Message)
	case semantic.GoType == reflect.TypeFor[time.Time]():
		return badInput(fieldName(semantic.JSONPointer) + invalidTimeSuffix)
	default:
		return badInput(fieldName(semantic.JSONPointer) + " has a value of the wrong type or out of range")
	}
}

// invalidTimeSuffix is the end of the error for an invalid time.
const invalidTimeSuffix = " must be a time as in RFC 3339, such as 2031-01-02T15:04:05Z"

// fieldName returns the dotted name of a field.
func fieldName(pointer jsontext.Pointer) string {
	name := strings.ReplaceAll(strings.TrimPrefix(string(pointer), "/"), "/", ".")
	if name == "" {
		return "the body"
	}
	return truncateName(name)
}

// truncateName returns the part of a caller's text that an error repeats: of limited length, and valid UTF-8.
func truncateName(name string) string {
	if len(name) > maxShownNameBytes {
		name = strings.ToValidUTF8(name[:maxShownNameBytes], "") + "…"
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

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

// withCall describes the call to the middleware, sends the caller its request id, limits the time of the call, and catches panics.
func withCall(next http.Handler, logger log.Logger, onPanic func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := newCall(r)
		w.Header().Set("X-Request-Id", call.RequestID)

		defer func() {
			if cause := recover(); cause != nil {
				_ = level.Error(logger).Log("msg", "panic", "path", r.URL.Path, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
				if onPanic != nil {
					onPanic()
				}
				if w.Header().Get("Content-Type") == eventStream {
					panic(http.ErrAbortHandler) //nolint:forbidigo // A response that has begun can only be aborted.
				}
				writeErrorBody(w, http.StatusInternalServerError, transport.CodeInternalError, "Internal error")
			}
		}()

		ctx := endpoints.WithCall(r.Context(), call)
		if r.URL.Path != watchPath {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, httpCallTimeout)
			defer cancel()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// newCall returns the description of a call for the middleware.
func newCall(r *http.Request) *endpoints.Call {
	address := r.RemoteAddr
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	return &endpoints.Call{
		Transport:     "http",
		RequestID:     transport.RequestID(r.Header.Values("X-Request-Id")),
		Address:       address,
		Authorization: r.Header.Values("Authorization"),
	}
}
