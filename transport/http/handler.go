// Package httptransport serves the endpoints as JSON over HTTP, for tools and people.
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
	"github.com/google/uuid"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

const (
	maxBodyBytes   = 64 << 10
	requestIDBytes = 128
	// shownNameBytes bounds how much of a caller's own text an error repeats.
	shownNameBytes = 64
	// callBound bounds a call from its start, in time before controllers in the field give up, after 10 s.
	callBound = 9 * time.Second
)

// handle serves an endpoint. What decode cannot read is given to the endpoint, after the middleware.
func handle[Req, Resp any](e endpoints.Endpoint[Req, Resp], decode func(*http.Request) (Req, error), encode func(Resp) any) http.Handler {
	return kithttp.NewServer(
		func(ctx context.Context, request any) (any, error) {
			r := request.(endpoints.Request[Req]) //nolint:forcetypeassert // Made two lines below.
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

// inputError is input that could not be read; it has a status of its own and is an InvalidError to everybody else.
type inputError struct {
	status  int
	message string
}

func (e *inputError) Error() string { return e.message }
func (e *inputError) Unwrap() error { return service.Invalid(e.message) }

func unreadable(message string) error { return &inputError{http.StatusBadRequest, message} }

// fromBody reads a JSON object strictly: unknown and repeated names are refused by name, and so is what follows it.
func fromBody(r *http.Request, into any) error {
	if contentType := r.Header.Get("Content-Type"); contentType != "" {
		media, _, _ := strings.Cut(contentType, ";")
		if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
			return &inputError{http.StatusUnsupportedMediaType, "Content-Type must be application/json"}
		}
	}
	for _, encodings := range r.Header.Values("Content-Encoding") {
		for encoding := range strings.SplitSeq(encodings, ",") {
			if encoding = strings.TrimSpace(encoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
				return &inputError{http.StatusUnsupportedMediaType, "Content-Encoding must be identity: send the body as it is"}
			}
		}
	}
	err := json.UnmarshalRead(http.MaxBytesReader(nil, r.Body, maxBodyBytes), into, json.RejectUnknownMembers(true))
	var (
		tooLarge *http.MaxBytesError
		semantic *json.SemanticError
		syntax   *jsontext.SyntacticError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return &inputError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBodyBytes)}
	case errors.As(err, &semantic) && errors.Is(err, json.ErrUnknownName):
		return unreadable("unknown field " + fieldName(semantic.JSONPointer))
	case errors.As(err, &semantic):
		var invalid *service.InvalidError
		if errors.As(err, &invalid) {
			return unreadable(invalid.Message)
		}
		if semantic.GoType == reflect.TypeFor[time.Time]() {
			return unreadable(fieldName(semantic.JSONPointer) + mustBeTime)
		}
		return unreadable(fieldName(semantic.JSONPointer) + " has a value of the wrong type or out of range")
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return unreadable("repeated field " + fieldName(syntax.JSONPointer))
	default:
		return unreadable("the body is not a JSON object")
	}
}

// mustBeTime is what is wrong with a time that is none.
const mustBeTime = " must be a time as in RFC 3339, such as 2031-01-02T15:04:05Z"

func fieldName(pointer jsontext.Pointer) string {
	name := strings.ReplaceAll(strings.TrimPrefix(string(pointer), "/"), "/", ".")
	if name == "" {
		return "the body"
	}
	return shownName(name)
}

// shownName is what an error repeats of a caller's own text: not too much, and only what JSON can carry.
func shownName(name string) string {
	if len(name) > shownNameBytes {
		name = strings.ToValidUTF8(name[:shownNameBytes], "") + "…"
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

type errorBody struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

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
	writeFailure(w, s.HTTP, s.Name, s.Message)
}

func writeFailure(w http.ResponseWriter, status int, code, message string) {
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
	// A caller that has gone away needs no answer.
	_, _ = w.Write(append(data, '\n'))
}

// withCall tells the middleware about the call, the caller its request id, bounds the call, and catches panics.
func withCall(next http.Handler, logger log.Logger, onPanic func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !service.ValidName(id, requestIDBytes) {
			id = uuid.NewString()
		}
		w.Header().Set("X-Request-Id", id)
		address := r.RemoteAddr
		if host, _, err := net.SplitHostPort(address); err == nil {
			address = host
		}
		call := &endpoints.Call{Transport: "http", RequestID: id, Address: address, Authorization: r.Header.Values("Authorization")}
		defer func() {
			if cause := recover(); cause != nil {
				_ = level.Error(logger).Log("msg", "panic", "path", r.URL.Path, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
				if onPanic != nil {
					onPanic()
				}
				if w.Header().Get("Content-Type") == eventStream {
					panic(http.ErrAbortHandler) //nolint:forbidigo // An answer that has begun can only be broken off.
				}
				writeFailure(w, http.StatusInternalServerError, "INTERNAL_ERROR", "Internal error")
			}
		}()
		ctx := endpoints.WithCall(r.Context(), call)
		if r.URL.Path != watchPath {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, callBound)
			defer cancel()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
