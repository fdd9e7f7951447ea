package store

import (
	"context"
	"errors"
	"time"

	"darktower.example/global-controller/service"
)

// errCommitFailed is the reply to heartbeats that were not tried, because the commit of others before them failed.
var errCommitFailed = unavailable("an earlier commit of heartbeats failed")

// commit stores a sorted batch and sends a reply to each caller. It returns an error if the store is unavailable. If the
// database rejects the values of one heartbeat, only that heartbeat fails.
func (b *heartbeatBatcher) commit(batch []*pendingHeartbeat) error {
	err := b.commitOnce(batch)
	if errors.Is(err, errRejected) {
		err = b.splitAndRetry(batch)
	}

	b.sendReplies(batch)
	return err
}

// commitOnce stores a sorted batch by one statement and sets the reply of each heartbeat: its outcome, or the error of the
// statement, which commitOnce also returns. A panic becomes the reply of the whole batch.
func (b *heartbeatBatcher) commitOnce(batch []*pendingHeartbeat) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			setReplies(batch, heartbeatReply{panicValue: cause})
			err = nil
		}
	}()

	writes, groups := mergeByController(batch)
	began := time.Now()
	outcomes, err := b.store.writeHeartbeats(context.Background(), writes, true)
	if err != nil {
		setReplies(batch, heartbeatReply{err: err})
		return err
	}
	b.store.onBatch(len(batch), time.Since(began))

	for i, outcome := range outcomes {
		result, err := outcome.reply()
		setReplies(groups[i], heartbeatReply{result: result, err: err})
	}
	return nil
}

// splitAndRetry commits a rejected batch in halves, and rejected halves again in halves, until each heartbeat is stored or
// rejected by itself. If the store becomes unavailable, it fails the remaining heartbeats and returns the error.
func (b *heartbeatBatcher) splitAndRetry(batch []*pendingHeartbeat) error {
	for parts := splitByController(batch); len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]

		err := b.commitOnce(part)
		if errors.Is(err, errRejected) {
			parts = append(splitByController(part), parts...)
			continue
		}
		if err != nil {
			for _, untried := range parts {
				setReplies(untried, heartbeatReply{err: errCommitFailed})
			}
			return err
		}
	}
	return nil
}

// sendReplies sends each caller its reply. The heartbeats whose rows were not written get theirs from resolveUnwritten.
func (b *heartbeatBatcher) sendReplies(batch []*pendingHeartbeat) {
	var unwritten []*pendingHeartbeat
	for _, p := range batch {
		if errors.Is(p.reply.err, errUnwritten) {
			unwritten = append(unwritten, p)
			continue
		}
		p.sendReply()
	}

	if len(unwritten) > 0 {
		b.resolveUnwritten(unwritten)
	}
}

// mergeByController merges the heartbeats of each controller in a sorted batch into one write: the latest heartbeat,
// with the latest usage that any of them reports. groups are the heartbeats of each write.
func mergeByController(batch []*pendingHeartbeat) (writes []service.HeartbeatWrite, groups [][]*pendingHeartbeat) {
	writes = make([]service.HeartbeatWrite, 0, len(batch))
	groups = make([][]*pendingHeartbeat, 0, len(batch))
	for i, p := range batch {
		if n := len(writes) - 1; n >= 0 && writes[n].ControllerID == p.write.ControllerID {
			usage := writes[n].Usage
			writes[n] = p.write
			if writes[n].Usage == nil {
				writes[n].Usage = usage
			}
			groups[n] = batch[i-len(groups[n]) : i+1]
			continue
		}

		writes = append(writes, p.write)
		groups = append(groups, batch[i:i+1])
	}
	return writes, groups
}

// splitByController splits a sorted batch into two parts, each with about half of the controllers. It returns nil for a
// batch of one controller, which cannot be split.
func splitByController(batch []*pendingHeartbeat) [][]*pendingHeartbeat {
	_, groups := mergeByController(batch)
	if len(groups) < 2 {
		return nil
	}

	middle := 0
	for _, group := range groups[:len(groups)/2] {
		middle += len(group)
	}
	return [][]*pendingHeartbeat{batch[:middle], batch[middle:]}
}

// setReplies sets the reply of heartbeats of one controller, or the same error for all heartbeats of a batch. Only the last
// heartbeat gets the transition, so that it is reported once.
func setReplies(group []*pendingHeartbeat, reply heartbeatReply) {
	for i, p := range group {
		p.reply = reply
		if i < len(group)-1 {
			p.reply.result.Transition = nil
		}
	}
}
