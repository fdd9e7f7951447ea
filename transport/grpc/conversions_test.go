package grpctransport

import (
	"testing"

	"darktower.example/global-controller/internal/testfill"
)

// TestConversions_EveryField: the conversions copy field by field, so a field that one lacks would be lost without an error. The
// fields of regions are computed, and have tests of their own.
func TestConversions_EveryField(t *testing.T) {
	t.Parallel()
	testfill.CheckConversions(t, map[string]any{
		"registrationFromProto":               registrationFromProto,
		"registrationResponseToProto":         registrationResponseToProto,
		"fastHeartbeatFromProto":              fastHeartbeatFromProto,
		"fastAcknowledgementToProto":          fastAcknowledgementToProto,
		"comprehensiveHeartbeatFromProto":     comprehensiveHeartbeatFromProto,
		"comprehensiveAcknowledgementToProto": comprehensiveAcknowledgementToProto,
		"meetingEndedFromProto":               meetingEndedFromProto,
		"listQueryFromProto":                  listQueryFromProto,
		"controllerToProto":                   controllerToProto,
		"transitionQueryFromProto":            transitionQueryFromProto,
		"transitionPageToProto":               transitionPageToProto,
		"replicasToProto":                     replicasToProto,
		"watchQueryFromProto":                 watchQueryFromProto,
		"loadToProto":                         loadToProto,
		"changeToProto":                       changeToProto,
	}, map[string]string{
		"Drained":                        "the controller has load",
		"Placement.Placeable":            "an operator is draining the controller",
		"Controller.Drained":             "the controller has load",
		"Controller.Placement.Placeable": "an operator is draining the controller",
		"Fingerprint":                    "it is a part of the cursor, which is invalid here",
	})
}
