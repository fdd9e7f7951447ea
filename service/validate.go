package service

import (
	"math"
	"net"
	"strconv"
	"strings"
)

// The maximum lengths in bytes, and the maximum count, which is that of the store's integer.
const (
	maxIDBytes       = 255
	maxRegionBytes   = 50
	maxEndpointBytes = 255
	maxCount         = math.MaxInt32
)

// Validate checks the fields in the order of their numbers in the protocol. It returns an [InvalidError] for the first invalid one.
func (r Registration) Validate() error {
	return firstError(
		validateName("controller_id", r.ControllerID, maxIDBytes),
		validateName("region", r.Region, maxRegionBytes),
		validateEndpoint("grpc_endpoint", r.GRPCEndpoint, true),
		validateEndpoint("webtransport_endpoint", r.WebTransportEndpoint, false),
		validateLimit("max_meetings", r.MaxMeetings),
		validateLimit("max_participants", r.MaxParticipants),
		validateIncarnation(r.Incarnation),
	)
}

// Validate checks the heartbeat as [Registration.Validate] does.
func (h FastHeartbeat) Validate() error {
	return firstError(
		validateName("controller_id", h.ControllerID, maxIDBytes),
		validateLoadReport(h.Load),
		validateIncarnation(h.Incarnation),
	)
}

// Validate checks the heartbeat as [FastHeartbeat.Validate] does, then its percentages.
func (h ComprehensiveHeartbeat) Validate() error {
	return firstError(
		h.FastHeartbeat.Validate(),
		validatePercent("cpu_usage_percent", h.CPUUsagePercent),
		validatePercent("memory_usage_percent", h.MemoryUsagePercent),
	)
}

// Validate checks the notice.
func (m MeetingEnded) Validate() error {
	return firstError(
		validateName("region", m.Region, maxRegionBytes),
		validateName("meeting_id", m.MeetingID, maxIDBytes),
	)
}

// Validate checks the id.
func (q ControllerQuery) Validate() error {
	return validateName("controller_id", q.ControllerID, maxIDBytes)
}

// Validate checks the query. The page token is checked where it is decoded.
func (q ListQuery) Validate() error {
	if q.Region != "" {
		if err := validateName("region", q.Region, maxRegionBytes); err != nil {
			return err
		}
	}
	if q.Health != "" && !q.Health.IsValid() {
		return Invalid("health must be one of pending, healthy, degraded, unhealthy, draining")
	}
	return validatePageSize(q.PageSize)
}

func validatePageSize(size int64) error {
	if size < 0 || size > MaxPageSize {
		return Invalid("page_size must be between 1 and " + strconv.Itoa(MaxPageSize))
	}
	return nil
}

// IsValidName reports whether s can be an id of at most maxBytes bytes: ASCII letters, digits, '-' and '_'.
func IsValidName(s string, maxBytes int) bool { return validateName("", s, maxBytes) == nil }

// IsValidControllerID reports whether a controller can have the id.
func IsValidControllerID(id string) bool { return IsValidName(id, maxIDBytes) }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func validateName(field, value string, maxBytes int) error {
	switch {
	case value == "":
		return Invalid(field + " is required")
	case len(value) > maxBytes:
		return Invalid(field + " is too long")
	case !isName(value):
		return Invalid(field + " contains invalid characters")
	}
	return nil
}

func isName(value string) bool {
	for i := range len(value) {
		if !isAlphanumeric(value[i]) && value[i] != '-' && value[i] != '_' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func validateEndpoint(field, value string, required bool) error {
	switch {
	case value == "" && required:
		return Invalid(field + " is required")
	case value == "":
		return nil
	case len(value) > maxEndpointBytes:
		return Invalid(field + " is too long")
	case !IsValidEndpointURL(value):
		return Invalid(field + " must be a valid URL")
	}
	return nil
}

// IsValidEndpointURL reports whether s is an address at which a controller can be reached. It consists of http:// or https://, a DNS
// name or an IP literal, and an optional port from 1 to 65535. One slash may follow. The unspecified address is invalid.
func IsValidEndpointURL(s string) bool {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return false
	}

	// The text is parsed here because url.Parse decodes percent escapes and drops an empty query or fragment ("http://a?").
	authority := strings.TrimSuffix(rest, "/")
	if strings.ContainsAny(authority, "/?#@\\%") {
		return false
	}

	host, port, hasPort := authority, "", false
	if end := strings.LastIndexByte(authority, ']'); strings.HasPrefix(authority, "[") {
		if end < 0 {
			return false
		}
		host, port = authority[:end+1], authority[end+1:]
		if port != "" {
			if port[0] != ':' {
				return false
			}
			port, hasPort = port[1:], true
		}
	} else if colon := strings.IndexByte(authority, ':'); colon >= 0 {
		host, port, hasPort = authority[:colon], authority[colon+1:], true
	}

	return isHost(host) && (!hasPort || isPort(port))
}

func isHost(host string) bool {
	if literal, ok := strings.CutPrefix(host, "["); ok {
		literal = strings.TrimSuffix(literal, "]")
		ip := net.ParseIP(literal)
		return ip != nil && strings.Contains(literal, ":") && !ip.IsUnspecified()
	}

	if ip := net.ParseIP(host); ip != nil {
		// A controller that listens on all addresses must not register that address: it cannot be reached at it.
		return !ip.IsUnspecified()
	}

	// Some clients read a name whose last label is a number as an IPv4 address, others as a name. So "1.2.3", "999.1.1.1" and "0x0" are
	// invalid.
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return false
		}
	}
	return len(host) <= 253 && !isNumber(labels[len(labels)-1])
}

// isNumber reports whether s is a number as inet_aton reads it: decimal, octal or hexadecimal.
func isNumber(s string) bool {
	if len(s) < 2 || s[0] != '0' || s[1] != 'x' && s[1] != 'X' {
		return isAllDigits(s)
	}
	for i := 2; i < len(s); i++ {
		if c := s[i] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isLabel(label string) bool {
	if len(label) < 1 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		if !isAlphanumeric(label[i]) && label[i] != '-' {
			return false
		}
	}
	return true
}

func isAllDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isPort(port string) bool {
	if len(port) > 5 || !isAllDigits(port) {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 1 && n <= math.MaxUint16
}

func validateLimit(field string, value int64) error {
	switch {
	case value < 1:
		return Invalid(field + " must be greater than 0")
	case value > maxCount:
		return Invalid(field + " value too large")
	}
	return nil
}

func validateLoadReport(report *LoadReport) error {
	if report == nil {
		return Invalid("capacity is required")
	}
	return firstError(
		validateLoad("current_meetings", report.CurrentMeetings),
		validateLoad("current_participants", report.CurrentParticipants),
	)
}

func validateLoad(field string, value int64) error {
	switch {
	case value < 0:
		return Invalid(field + " must not be negative")
	case value > maxCount:
		return Invalid(field + " value too large")
	}
	return nil
}

func validatePercent(field string, value float64) error {
	// This form also refuses NaN.
	if value >= 0 && value <= 100 {
		return nil
	}
	return Invalid(field + " must be between 0 and 100")
}
