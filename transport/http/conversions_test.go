package httptransport

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"darktower.example/global-controller/internal/testfill"
)

// TestConversions_EveryField: the conversions copy field by field, so a field that one lacks would be lost without an error. The
// fields of regions are computed, and have tests of their own.
func TestConversions_EveryField(t *testing.T) {
	t.Parallel()
	testfill.CheckConversions(t, map[string]any{
		"encodeRegistrationResponse": encodeRegistrationResponse,
		"encodeAcknowledgement":      encodeAcknowledgement,
		"controllerToBody":           controllerToBody,
		"encodeTransitions":          encodeTransitions,
		"encodeReplicas":             encodeReplicas,
		"loadToBody":                 loadToBody,
		"changeToBody":               changeToBody,
	}, map[string]string{
		"Drained":                        "the controller has load",
		"Placement.Placeable":            "an operator is draining the controller",
		"Controller.Drained":             "the controller has load",
		"Controller.Placement.Placeable": "an operator is draining the controller",
	})
}

// TestDecoders_EveryField is the same for the bodies of requests.
func TestDecoders_EveryField(t *testing.T) {
	t.Parallel()
	checkDecoder(t, decodeRegistration, &registrationBody{})
	checkDecoder(t, decodeFastHeartbeat, &fastHeartbeatBody{})
	checkDecoder(t, decodeComprehensiveHeartbeat, &comprehensiveHeartbeatBody{})
}

// checkDecoder decodes a full body and checks that the request has no empty field.
func checkDecoder[Req any](t *testing.T, decode func(*http.Request) (Req, error), body any) {
	t.Helper()
	testfill.Fill(t, body, 1)
	w := httptest.NewRecorder()
	writeJSON(w, 200, body)

	r := httptest.NewRequest("POST", "/", w.Body)
	r.SetPathValue("id", "mc-1")
	request, err := decode(r)
	if err != nil {
		t.Fatalf("%T = %v, want nil", body, err)
	}
	for _, path := range testfill.Empty(&request) {
		t.Errorf("decoding a %T leaves %s empty: copy the field", body, path)
	}
}
