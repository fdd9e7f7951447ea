package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxResponseBytes limits how much of the collector's response is read, so that the connection can be used again.
const maxResponseBytes = 64 << 10

// collectorClient sends spans as OTLP over HTTP in protobuf. OpenTelemetry's own client is not used: it registers a gRPC
// compressor, so that every process that contains it offers compression to its gRPC peers.
type collectorClient struct {
	url        string
	httpClient *http.Client
}

// newCollectorClient returns a client of the collector at the base address endpoint.
func newCollectorClient(endpoint string, transport http.RoundTripper) (*collectorClient, error) {
	base, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("the endpoint is not a URL") // The parser's error quotes it, and it may contain a password.
	}
	return &collectorClient{
		url: base.JoinPath("v1", "traces").String(),
		httpClient: &http.Client{
			Transport:     transport,
			Timeout:       sendTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Start implements otlptrace's Client.
func (*collectorClient) Start(context.Context) error { return nil }

// Stop implements otlptrace's Client.
func (*collectorClient) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace's Client. It does not retry: spans that could not be sent are lost, because a retry would
// delay those that wait.
func (c *collectorClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// TracesData has the same wire format as the request of OTLP's service, whose package depends on a gateway.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("marshal: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the endpoint is not a URL")
	}
	request.Header.Set("Content-Type", "application/x-protobuf")

	response, err := c.httpClient.Do(request)
	if err != nil {
		return fmt.Errorf("post: %w", errors.Unwrap(err)) // Without the address.
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxResponseBytes))
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
