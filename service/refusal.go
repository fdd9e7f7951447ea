package service

// Reasons for which a caller is refused although its token's signature is valid.
const (
	RefusedKeyDropped  = "key no longer published"
	RefusedExpired     = "token expired"
	RefusedFuture      = "token issued in the future"
	RefusedNotYetValid = "token not valid yet"
	RefusedAccess      = "access denied"
	RefusedRate        = "rate limit exceeded"
	RefusedInvalid     = "invalid request"
	RefusedSuperseded  = "another process is registered"
)

// RefusedError is the refusal of a caller whose token has a valid signature. Reason is one of the constants above.
type RefusedError struct {
	Reason string
	Err    error
}

func (e *RefusedError) Error() string { return e.Reason + ": " + e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }
