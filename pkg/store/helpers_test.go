package store

import (
	"net/url"
	"testing"

	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

var nopLogger = log.NewNopLogger()

// replaceHost returns a database's address with another host and port.
func replaceHost(t testing.TB, address, host string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = host
	return u.String()
}

func registration(id string) service.Registration {
	return service.Registration{ControllerID: id, Region: "eu", GRPCEndpoint: "http://mc", MaxMeetings: 1, MaxParticipants: 1}
}

// heartbeatOf returns a fast heartbeat of a healthy controller.
func heartbeatOf(id string) service.HeartbeatWrite {
	return service.HeartbeatWrite{ControllerID: id, Reported: service.HealthHealthy}
}
