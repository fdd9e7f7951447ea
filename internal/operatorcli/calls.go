package operatorcli

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	// maxRetryTime limits the retries of a read: it is as long as a restart behind a load balancer takes.
	maxRetryTime  = 2 * time.Second
	minRetryPause = 100 * time.Millisecond
	maxRetryPause = 2 * time.Second
	// maxPageSize is the largest page that a Global Controller returns.
	maxPageSize = 1000
	// maxPages stops a list whose pages never end.
	maxPages = 10_000
)

// The scopes that calls need. gc:admin includes gc:read.
const (
	scopeRead  = "gc:read"
	scopeAdmin = "gc:admin"
)

// method is a call of a generated gRPC client.
type method[In, Out any] func(context.Context, In, ...grpc.CallOption) (Out, error)

// readWithRetry makes a call that changes nothing. While the Global Controller is unavailable, it retries for a short time.
// controllerID is the controller that the call is about; it may be empty.
func readWithRetry[In, Out any](ctx context.Context, conn *connection, controllerID string, in In, m method[In, Out]) (Out, error) {
	return readWithRetryAs(ctx, conn, call{controllerID: controllerID, scope: scopeRead}, in, m)
}

// readWithRetryAs is readWithRetry with a description of the call for its failure.
func readWithRetryAs[In, Out any](ctx context.Context, conn *connection, c call, in In, m method[In, Out]) (Out, error) {
	c.address = conn.target.address
	c.isDevStack = conn.target.isDevStack
	maxTime := min(maxRetryTime, conn.cli.flags.timeout)

	began := time.Now()
	for pause := minRetryPause; ; pause *= 2 {
		out, err := invoke(ctx, conn, in, m)
		if err == nil {
			return out, nil
		}
		if status.Code(err) == codes.Unavailable && time.Since(began)+pause < maxTime && sleep(ctx, pause) {
			continue
		}
		return out, c.describeError(ctx, err)
	}
}

// changeOnce makes a call that changes something. It does not retry: a call without a response may have made its change.
func changeOnce[In, Out any](ctx context.Context, conn *connection, controllerID string, in In, m method[In, Out]) (Out, error) {
	out, err := invoke(ctx, conn, in, m)
	if err == nil {
		return out, nil
	}

	c := call{
		address:      conn.target.address,
		controllerID: controllerID,
		isChange:     true,
		scope:        scopeAdmin,
		isDevStack:   conn.target.isDevStack,
	}
	return out, c.describeError(ctx, err)
}

// invoke makes one call with a token, within the time limit of --timeout.
func invoke[In, Out any](ctx context.Context, conn *connection, in In, m method[In, Out]) (Out, error) {
	ctx, cancel := context.WithTimeout(ctx, conn.cli.flags.timeout)
	defer cancel()

	ctx, err := conn.withToken(ctx)
	if err != nil {
		var none Out
		return none, err
	}
	return m(ctx, in)
}

// getController reads one controller.
func (conn *connection) getController(ctx context.Context, id string) (*pb.Controller, error) {
	response, err := readWithRetry(ctx, conn, id, &pb.GetControllerRequest{ControllerId: id}, conn.fleet.GetController)
	return response.GetController(), err
}

// listControllers reads all pages of the controllers of a region and a state. The zero values stand for all.
func (conn *connection) listControllers(ctx context.Context, region string, health pb.Health) (all []*pb.Controller, err error) {
	in := &pb.ListControllersRequest{Region: region, Health: health, PageSize: maxPageSize}
	for range maxPages {
		page, err := readWithRetry(ctx, conn, "", in, conn.fleet.ListControllers)
		if err != nil {
			return nil, err
		}
		all = append(all, page.GetControllers()...)
		if in.PageToken = page.GetNextPageToken(); in.PageToken == "" {
			return all, nil
		}
	}
	return nil, fmt.Errorf("list controllers: gave up after %d pages", maxPages)
}

// sleep waits for d and reports whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()

	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
