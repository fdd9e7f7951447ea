// Command openapicheck checks that the OpenAPI document that the service publishes is valid OpenAPI 3.1. It is a separate
// module because the validator takes longer to build than all other packages together.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
	httptransport "darktower.example/global-controller/transport/http"
)

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, "openapicheck:", err)
		os.Exit(1)
	}
	fmt.Println("the OpenAPI document is valid")
}

func check() error {
	text, err := readDocument()
	if err != nil {
		return err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}

	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		return fmt.Errorf("build the document: %w", errors.Join(errs...))
	}
	if ok, failures := v.ValidateDocument(); !ok {
		for _, failure := range failures {
			err = errors.Join(err, fmt.Errorf("%s: %s %v", failure.Message, failure.Reason, failure.SchemaValidationErrors))
		}
		return fmt.Errorf("the document is not OpenAPI 3.1: %w", err)
	}
	return nil
}

// readDocument gets the document from a handler without a service, which the document does not need.
func readDocument() ([]byte, error) {
	noMiddleware := func(endpoints.Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint { return next }
	}

	handler := httptransport.NewHandler(endpoints.New(struct{ service.Service }{}, noMiddleware), httptransport.Config{
		Logger:  log.NewNopLogger(),
		OnPanic: func() {},
		Metrics: http.NotFoundHandler(),
		Ready:   func(context.Context) map[string]string { return nil },
	})

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if w.Code != http.StatusOK {
		return nil, fmt.Errorf("get the document: status %d", w.Code)
	}
	return w.Body.Bytes(), nil
}
