package operate

// stateAdvice says what to do about a state of /ready that says more than the name of its check.
var stateAdvice = map[string]string{
	"incompatible schema": "a newer release changed the schema: replace this Global Controller by the newer release; " +
		"global-controller migrate status shows the versions",
}

// adviceForState says what to do about a check of /ready that is in the state.
func adviceForState(name, state string) string {
	return first(stateAdvice[state], readyAdvice[name])
}
