package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/service"
)

// errNotAllowed means that a setting has an invalid value.
var errNotAllowed = errors.New("not allowed")

// parser sets a field of the configuration from the value of a setting.
type parser func(c *Config, value string) error

// stringField accepts values for which isAllowed returns true; nil accepts any.
func stringField(field func(*Config) *string, isAllowed func(string) bool) parser {
	return func(c *Config, value string) error {
		if isAllowed != nil && !isAllowed(value) {
			return errNotAllowed
		}
		*field(c) = value
		return nil
	}
}

// intField accepts whole numbers from lowest to highest.
func intField(field func(*Config) *int, lowest, highest int64) parser {
	return func(c *Config, value string) error {
		n, err := parseInt(value, lowest, highest)
		*field(c) = int(n)
		return err
	}
}

// durationField accepts whole numbers of a unit from lowest to highest.
func durationField(field func(*Config) *time.Duration, unit time.Duration, lowest, highest int64) parser {
	return func(c *Config, value string) error {
		n, err := parseInt(value, lowest, highest)
		*field(c) = time.Duration(n) * unit
		return err
	}
}

// ratioField accepts numbers from 0 to 1.
func ratioField(field func(*Config) *float64) parser {
	return func(c *Config, value string) error {
		ratio, err := strconv.ParseFloat(value, 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) { // The negation covers NaN.
			return errNotAllowed
		}
		*field(c) = ratio
		return nil
	}
}

// boolField accepts "true" and "false".
func boolField(field func(*Config) *bool) parser {
	return func(c *Config, value string) error {
		if value != "true" && value != "false" {
			return errNotAllowed
		}
		*field(c) = value == "true"
		return nil
	}
}

func parseInt(value string, lowest, highest int64) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < lowest || n > highest {
		return 0, errNotAllowed
	}
	return n, nil
}

func parseScopes(c *Config, value string) error {
	c.MCScopes = strings.Fields(value)
	if len(c.MCScopes) == 0 {
		return errNotAllowed
	}
	return nil
}

func parseDatabaseURL(c *Config, value string) error {
	path, isSQLite := strings.CutPrefix(value, sqliteScheme)
	isAllowed := value == "" || isSQLite && path != "" || isPostgres(value)
	if !isAllowed {
		return errNotAllowed
	}
	c.DatabaseURL = value
	return nil
}

func parseID(c *Config, value string) error {
	if value == "" {
		value = newID()
	}
	if !service.IsValidName(value, 255) {
		return errNotAllowed
	}
	c.ID = value
	return nil
}

// newID returns a name of this replica from the host's name and a random number.
func newID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	name := strings.Map(func(r rune) rune {
		if r < 128 && service.IsValidName(string(r), 1) {
			return r
		}
		return '-'
	}, host)

	var suffix [4]byte
	_, _ = rand.Read(suffix[:]) // It never fails.
	return "gc-" + name[:min(len(name), 200)] + "-" + hex.EncodeToString(suffix[:])
}

func isNotEmpty(s string) bool { return s != "" }

func isOneOf(words ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(words, s) }
}

func isRegion(s string) bool { return service.IsValidName(s, 50) }

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n <= math.MaxUint16
}

func isLoopbackOrEmpty(s string) bool {
	if s == "" {
		return true
	}
	host, _, err := net.SplitHostPort(s)
	ip := net.ParseIP(host)
	return err == nil && isAddress(s) && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func isHTTP(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func isCollectorOrEmpty(s string) bool { return s == "" || isHTTP(s) && !strings.ContainsAny(s, "?#") }

func isPostgres(s string) bool {
	hasHosts, err := store.ParseAddress(s)
	return err == nil && hasHosts
}
