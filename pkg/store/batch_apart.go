package store

import (
	"context"
	"time"

	"darktower.example/global-controller/service"
)

// explain tells those whose row was not written why: there is none, or somebody else was writing it. The latter go on
// by themselves, so that nobody else waits for the lock.
func (b *batches) explain(missing [][]*waiting) {
	explained := 0
	defer func() {
		if cause := recover(); cause != nil {
			for _, group := range missing[explained:] {
				replyAll(group, answer{panicked: cause})
			}
		}
	}()
	known := map[string]bool{}
	if b.store.dialect.skipBusy != "" {
		ids := make([]string, len(missing))
		for i, group := range missing {
			ids[i] = group[0].write.ControllerID
		}
		var err error
		if known, err = b.store.registered(context.Background(), ids); err != nil {
			for _, group := range missing {
				explained++
				replyAll(group, answer{err: err})
			}
			return
		}
	}
	for _, group := range missing {
		explained++
		if !known[group[0].write.ControllerID] {
			replyAll(group, answer{err: service.ErrNotRegistered})
			continue
		}
		go b.commitApart(group)
	}
}

// commitApart stores the heartbeats of one controller, and waits for its row as long as an operation may.
func (b *batches) commitApart(group []*waiting) {
	b.apart <- struct{}{}
	defer func() {
		<-b.apart
		if cause := recover(); cause != nil {
			replyAll(group, answer{panicked: cause})
		}
	}()
	if time.Since(group[0].since) > b.store.timeout {
		replyAll(group, answer{err: unavailable("waited too long for a locked row")})
		return
	}
	beats, _ := collapse(group)
	result, err := b.store.heartbeatAlone(context.Background(), beats[0])
	last := len(group) - 1
	untold := result
	untold.Transition = nil
	replyAll(group[:last], answer{result: untold, err: err})
	replyAll(group[last:], answer{result: result, err: err})
}
