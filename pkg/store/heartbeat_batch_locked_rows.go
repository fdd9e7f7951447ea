package store

import (
	"context"
	"time"

	"darktower.example/global-controller/service"
)

// resolveUnwritten replies to the heartbeats whose rows a batch did not write, sorted by id. If a controller has no row, it
// is not registered. If another transaction has locked the row, a goroutine waits for it, so that no other heartbeat does.
func (b *heartbeatBatcher) resolveUnwritten(unwritten []*pendingHeartbeat) {
	_, groups := mergeByController(unwritten)
	isRegistered, failure := b.findRegistered(groups)

	for _, group := range groups {
		switch {
		case failure != nil:
			replyAll(group, *failure)
		case !isRegistered[group[0].write.ControllerID]:
			replyAll(group, heartbeatReply{err: service.ErrNotRegistered})
		default:
			go b.commitLockedRow(group)
		}
	}
}

// findRegistered returns which of the controllers have a row, or the reply if the lookup fails. Over SQLite, where no row
// can be locked, it returns none.
func (b *heartbeatBatcher) findRegistered(groups [][]*pendingHeartbeat) (isRegistered map[string]bool, failure *heartbeatReply) {
	if !b.store.dialect.isPostgres {
		return nil, nil
	}
	defer func() {
		if cause := recover(); cause != nil {
			failure = &heartbeatReply{panicValue: cause}
		}
	}()

	ids := make([]string, len(groups))
	for i, group := range groups {
		ids[i] = group[0].write.ControllerID
	}

	isRegistered, err := b.store.findRegistered(context.Background(), ids)
	if err != nil {
		return nil, &heartbeatReply{err: err}
	}
	return isRegistered, nil
}

// commitLockedRow stores the heartbeats of one controller by a statement that waits for the locked row, up to the store's
// timeout.
func (b *heartbeatBatcher) commitLockedRow(group []*pendingHeartbeat) {
	b.lockedRowSlots <- struct{}{}
	defer func() {
		<-b.lockedRowSlots
		if cause := recover(); cause != nil {
			replyAll(group, heartbeatReply{panicValue: cause})
		}
	}()

	if time.Since(group[0].since) > b.store.timeout {
		replyAll(group, heartbeatReply{err: unavailable("waited too long for a locked row")})
		return
	}

	writes, _ := mergeByController(group)
	result, err := b.store.writeSingleHeartbeat(context.Background(), writes[0])
	replyAll(group, heartbeatReply{result: result, err: err})
}

// replyAll sets the reply of heartbeats of one controller and sends it to their callers.
func replyAll(group []*pendingHeartbeat, reply heartbeatReply) {
	setReplies(group, reply)
	for _, p := range group {
		p.sendReply()
	}
}
