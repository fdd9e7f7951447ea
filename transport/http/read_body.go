package httptransport

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"darktower.example/global-controller/service"
)

const (
	maxBodyBytes = 64 << 10
	// maxShownNameBytes limits the length of a caller's text in an error.
	maxShownNameBytes = 64
)

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
