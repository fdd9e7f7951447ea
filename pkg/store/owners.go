package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxOwnerBytes is the width of the column.
const maxOwnerBytes = 255

// ownerOf returns what the column owner holds for a token subject. A subject can be as long as a token; the digest keeps
// two long ones apart.
func ownerOf(subject string) string {
	subject = storable(subject)
	if len(subject) <= maxOwnerBytes {
		return subject
	}
	digest := sha256.Sum256([]byte(subject))
	suffix := "..." + hex.EncodeToString(digest[:])

	return strings.ToValidUTF8(subject[:maxOwnerBytes-len(suffix)], "") + suffix
}

// CountOwned implements [service.Store].
func (s *Store) CountOwned(ctx context.Context, subject string) (int, error) {
	return run(ctx, s, "owned", func(ctx context.Context) (owned int, err error) {
		err = s.read.GetContext(ctx, &owned, s.read.Rebind(`SELECT count(*) FROM meeting_controllers WHERE owner = ?`), ownerOf(subject))
		return owned, err
	})
}
