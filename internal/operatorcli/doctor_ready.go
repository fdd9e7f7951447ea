package operatorcli

// stateAdvice has the advice for states of /ready that are more specific than the name of their check.
var stateAdvice = map[string]string{
	"incompatible schema": "a newer release changed the schema: replace this Global Controller by the newer release; " +
		"global-controller migrate status shows the versions",
}

// adviceForState returns the advice for a check of /ready in a state.
func adviceForState(name, state string) string {
	return first(stateAdvice[state], readyAdvice[name])
}
