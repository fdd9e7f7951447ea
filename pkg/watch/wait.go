package watch

import "context"

// waitForPoll waits for the next poll of the store to end, and returns its error.
func (h *Hub) waitForPoll(ctx context.Context) error {
	polled := make(chan error, 1)
	h.mu.Lock()
	if h.isStopped {
		h.mu.Unlock()
		return stoppingError()
	}
	h.pollWaiters = append(h.pollWaiters, polled)
	h.mu.Unlock()
	h.wakeUp()

	select {
	case err := <-polled:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takePollWaiters returns the channels of the calls that wait for a poll.
func (h *Hub) takePollWaiters() []chan error {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiters := h.pollWaiters
	h.pollWaiters = nil
	return waiters
}

func notifyWaiters(waiters []chan error, err error) {
	for _, polled := range waiters {
		polled <- err
	}
}
