package operatorcli

import (
	"testing"

	"darktower.example/global-controller/internal/testfill"
)

// TestBodyConversions_EveryField: the conversions copy field by field, so a field that one lacks would be missing in the JSON.
func TestBodyConversions_EveryField(t *testing.T) {
	t.Parallel()
	testfill.CheckConversions(t, map[string]any{
		"controllerToBody":  controllerToBody,
		"transitionToBody":  transitionToBody,
		"regionToBody":      regionToBody,
		"drainResultToBody": drainResultToBody,
		"replicaToBody":     replicaToBody,
		"storeToBody":       storeToBody,
	}, map[string]string{})
}
