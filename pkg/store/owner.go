package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxOwnerBytes is the width of the column.
const maxOwnerBytes = 255

// ownerOf returns the value of the column owner for a token subject. A long subject is cut and gets its digest as a suffix,
// so that two long subjects with the same beginning differ.
func ownerOf(subject string) string {
	subject = storableText(subject)
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
		err = s.readDB.GetContext(ctx, &owned,
			s.readDB.Rebind(`SELECT count(*) FROM meeting_controllers WHERE owner = ?`), ownerOf(subject))
		return owned, err
	})
}
