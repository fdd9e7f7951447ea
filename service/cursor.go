package service

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// fingerprintBytes is how much of a hash a cursor carries: two changes with the same id are the same one but for one in 2^48.
const fingerprintBytes = 6

// Cursor is a place in the history: behind the change with the id. The fingerprint is that of the change, so that a cursor
// of another history is recognized, such as the one that a restored backup took the place of. It is empty for a cursor
// that is only a number, and the zero cursor stands before the first change.
type Cursor struct {
	ID          int64
	Fingerprint string
}

// String is the form in which a cursor travels: the id, and the fingerprint behind a hyphen.
func (c Cursor) String() string {
	text := strconv.FormatInt(c.ID, 10)
	if c.Fingerprint != "" {
		text += "-" + c.Fingerprint
	}
	return text
}

// ParseCursor reads what [Cursor.String] wrote, and bare numbers.
func ParseCursor(text string) (Cursor, error) {
	number, fingerprint, marked := strings.Cut(text, "-")
	id, err := strconv.ParseInt(number, 10, 64)
	raw, hexErr := hex.DecodeString(fingerprint)
	switch {
	case err != nil || id < 0 || number[0] == '+',
		marked && (hexErr != nil || len(raw) != fingerprintBytes || id == 0):
		return Cursor{}, errNoCursor()
	}
	return Cursor{ID: id, Fingerprint: strings.ToLower(fingerprint)}, nil
}

func errNoCursor() error {
	return Invalid("after must be a whole number, 0 or more, or a cursor that was given out")
}

// Cursor is the place behind the change.
func (t Transition) Cursor() Cursor { return Cursor{ID: t.ID, Fingerprint: t.Fingerprint()} }

// Fingerprint is a short hash of what identifies a change of the history. It is empty for one that has no id yet.
func (t Transition) Fingerprint() string {
	if t.ID == 0 {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%d\x00%s\x00%s\x00%s",
		t.ID, t.ControllerID, t.Region, t.At.UnixMicro(), t.From, t.To, t.Cause))
	return hex.EncodeToString(sum[:fingerprintBytes])
}
