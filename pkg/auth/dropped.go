package auth

import (
	"crypto/ed25519"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// droppedFor is how long a key that is no longer published is remembered, to explain refusals: as long as its tokens live.
	droppedFor = time.Hour
	// maxDropped bounds how many are remembered.
	maxDropped = 64
	// unjudgedMemory is how long a token that could not be judged counts: longer than the usual interval of its caller's calls.
	unjudgedMemory = 15 * time.Second
)

// droppedKeys are keys that were published and are no longer, the oldest first. No token is accepted by them: they only explain
// why one is refused.
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

// replace remembers the keys of before that are not among those of after.
func (d *droppedKeys) replace(before, after map[string]ed25519.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()

	now := d.now()
	isPublished := func(kid string, key ed25519.PublicKey) bool {
		current, ok := after[kid]
		return ok && current.Equal(key)
	}
	d.keys = slices.DeleteFunc(d.keys, func(k droppedKey) bool { return isPublished(k.kid, k.key) || now.After(k.until) })
	for kid, key := range before {
		if !isPublished(kid, key) {
			d.keys = append(d.keys, droppedKey{kid: kid, key: key, until: now.Add(droppedFor)})
		}
	}
	d.keys = slices.Delete(d.keys, 0, max(0, len(d.keys)-maxDropped))
}

// find returns the dropped keys of that id: an id may have stood for several keys one after the other.
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

// unjudgedTokens remembers when the last token came whose key is unknown while the keys cannot be fetched.
type unjudgedTokens struct {
	mu     sync.Mutex
	last   time.Duration // 0 for never
	now    func() time.Duration
	memory time.Duration
}

func (u *unjudgedTokens) note() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = max(1, u.now())
}

func (u *unjudgedTokens) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = 0
}

func (u *unjudgedTokens) hasRecent() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last > 0 && u.now()-u.last <= u.memory
}

// RememberUnjudged sets for how long a token that could not be judged counts, which is to be longer than the interval of its
// caller's calls. It is called before the first fetch.
func (k *KeySet) RememberUnjudged(memory time.Duration) { k.unjudged.memory = memory }

// CanJudge reports whether tokens can be judged: a usable key is held, and no recent token has an unknown key while the
// keys cannot be fetched.
func (k *KeySet) CanJudge() bool { return k.Ready() && !k.unjudged.hasRecent() }

// StartFetch starts a fetch unless one is under way or one began within the last second. It does not wait.
func (k *KeySet) StartFetch() { k.begin(k.refetch.Allow) }

// OnDate sets the function that is called with the auth controller's clock for each fetched document. Call it before the first
// fetch; read must not block.
func (k *KeySet) OnDate(read func(date time.Time, uncertainty time.Duration)) { k.onDate = read }

// readDate reads the time of a response, in whole seconds, and its age if a cache has added one.
func (k *KeySet) readDate(header http.Header, took time.Duration) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	if age, err := strconv.Atoi(header.Get("Age")); err == nil && age > 0 {
		date = date.Add(time.Duration(min(age, 1<<31-1)) * time.Second)
	}
	k.onDate(date.Add(time.Second/2+took/2), time.Second/2+took/2)
}
