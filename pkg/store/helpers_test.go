package store

import (
	"net/url"
	"testing"

	"github.com/go-kit/log"
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
