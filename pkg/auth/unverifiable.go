package auth

import (
	"sync"
	"time"
)

// unverifiableTokens records when the last token with an unknown key arrived while the keys could not be fetched.
type unverifiableTokens struct {
	mu        sync.Mutex
	last      time.Duration // 0: never.
	now       func() time.Duration
	recentFor time.Duration
}

func (u *unverifiableTokens) record() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = max(1, u.now())
}

func (u *unverifiableTokens) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = 0
}

// hasRecent reports whether such a token arrived within recentFor.
func (u *unverifiableTokens) hasRecent() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last > 0 && u.now()-u.last <= u.recentFor
}
