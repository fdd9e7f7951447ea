package auth

import (
	"crypto/ed25519"
	"slices"
	"sync"
	"time"
)

const (
	// droppedKeyRetention is how long a key that is no longer published is kept to explain refusals: as long as its tokens are valid.
	droppedKeyRetention = time.Hour
	// maxDroppedKeys is how many of them are kept.
	maxDroppedKeys = 64
)

// droppedKeys has the keys that were published and are no longer, the oldest first. No token is accepted with them: they only
// explain why a token is refused.
type droppedKeys struct {
	mu   sync.Mutex
	keys []droppedKey
	now  func() time.Time
}

type droppedKey struct {
	kid   string
	key   ed25519.PublicKey
	until time.Time
}

// update adds the keys of before that are not in after, and removes those that are published again or too old.
func (d *droppedKeys) update(before, after map[string]ed25519.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()

	now := d.now()
	isPublished := func(kid string, key ed25519.PublicKey) bool {
		current, ok := after[kid]
		return ok && current.Equal(key)
	}
	d.keys = slices.DeleteFunc(d.keys, func(k droppedKey) bool {
		return isPublished(k.kid, k.key) || now.After(k.until)
	})

	for kid, key := range before {
		if !isPublished(kid, key) {
			d.keys = append(d.keys, droppedKey{kid: kid, key: key, until: now.Add(droppedKeyRetention)})
		}
	}
	d.keys = slices.Delete(d.keys, 0, max(0, len(d.keys)-maxDroppedKeys))
}

// find returns the dropped keys with that id: one id may have had several keys, one after the other.
func (d *droppedKeys) find(kid string) (keys []ed25519.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()

	for _, k := range d.keys {
		if k.kid == kid && !d.now().After(k.until) {
			keys = append(keys, k.key)
		}
	}
	return keys
}
