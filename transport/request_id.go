package transport

import (
	"github.com/google/uuid"

	"darktower.example/global-controller/service"
)

// maxRequestIDBytes is the maximum length of a request id that a caller chooses.
const maxRequestIDBytes = 128

// RequestID returns the request id of a call. It is the caller's id if the caller sent exactly one that is safe to log and to send
// back. Otherwise it is a new one.
func RequestID(received []string) string {
	if len(received) == 1 && service.IsValidName(received[0], maxRequestIDBytes) {
		return received[0]
	}
	return uuid.NewString()
}
