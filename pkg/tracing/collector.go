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

// maxAnswerBytes bounds what is read of the collector's answer, so that its connection can be used again.
const maxAnswerBytes = 64 << 10

// collector sends spans as OTLP over HTTP in protobuf. OpenTelemetry's own client for that has every process that it is
// built into, whether it traces or not, take compressed messages over gRPC.
type collector struct {
	url    string
	client *http.Client
}

// newCollector returns the collector at the base address endpoint.
func newCollector(endpoint string, through http.RoundTripper) (*collector, error) {
	base, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("the endpoint is not a URL") // The error would quote it, which may hold a password.
	}
	return &collector{base.JoinPath("v1", "traces").String(), &http.Client{
		Transport: through, Timeout: sendBound,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Start implements otlptrace's Client.
func (*collector) Start(context.Context) error { return nil }

// Stop implements otlptrace's Client.
func (*collector) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace's Client. What could not be sent is lost: to try again would only have more wait
// behind it.
func (c *collector) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire these are the same as the request of OTLP's service, whose package brings a gateway along.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("marshal: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the endpoint is not a URL")
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("post: %w", errors.Unwrap(err)) // Without the address.
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswerBytes))
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
