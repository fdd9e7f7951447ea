package service

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// fingerprintBytes is the length of the hash in a cursor. Two different transitions with the same id have the same hash in one of 2^48
// cases.
const fingerprintBytes = 6

// Cursor is a position in the history: after the transition with the id. The fingerprint of the transition shows whether the cursor
// belongs to this history or to another one, such as one that a restored backup replaced. It is empty for a cursor that is only a
// number. The zero cursor stands before the first transition.
type Cursor struct {
	ID          int64
	Fingerprint string
}

// String returns the text form of a cursor: the id, then a hyphen and the fingerprint if there is one.
func (c Cursor) String() string {
	text := strconv.FormatInt(c.ID, 10)
	if c.Fingerprint != "" {
		text += "-" + c.Fingerprint
	}
	return text
}

// ParseCursor parses the form of [Cursor.String], and bare numbers.
func ParseCursor(text string) (Cursor, error) {
	number, fingerprint, hasFingerprint := strings.Cut(text, "-")
	id, err := strconv.ParseInt(number, 10, 64)
	raw, hexErr := hex.DecodeString(fingerprint)

	switch {
	case err != nil || id < 0 || number[0] == '+',
		hasFingerprint && (hexErr != nil || len(raw) != fingerprintBytes || id == 0):
		return Cursor{}, errInvalidCursor()
	}
	return Cursor{ID: id, Fingerprint: strings.ToLower(fingerprint)}, nil
}

func errInvalidCursor() error {
	return Invalid("after must be a whole number, 0 or more, or a cursor that was returned")
}

// Cursor returns the position after the transition.
func (t Transition) Cursor() Cursor { return Cursor{ID: t.ID, Fingerprint: t.Fingerprint()} }

// Fingerprint returns a short hash of the values that identify a transition. It is empty for a transition that has no id yet.
func (t Transition) Fingerprint() string {
	if t.ID == 0 {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%d\x00%s\x00%s\x00%s",
		t.ID, t.ControllerID, t.Region, t.At.UnixMicro(), t.From, t.To, t.Cause))
	return hex.EncodeToString(sum[:fingerprintBytes])
}
