package e2e

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// validationRule is a call and the message of its refusal.
type validationRule struct {
	name      string
	operation string
	id        string
	fields    map[string]any
	// message is empty if the call is accepted.
	message string
	// only is the protocol that can express the input; empty for all.
	only string
}

// isFor reports whether the protocol can express the input.
func (r validationRule) isFor(via protocol) bool {
	switch r.only {
	case "grpc":
		return via.service != ""
	case "http":
		return via.service == ""
	}
	return true
}

// TestValidation_EveryRule checks every validation rule over every protocol.
func TestValidation_EveryRule(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		for _, id := range []string{"mc", strings.Repeat("i", 255)} {
			env.register(id, registration())
		}
		rules := append(idRules(), registrationRules()...)
		rules = append(append(rules, capacityRules()...), usageRules()...)

		for _, via := range protocols() {
			for _, rule := range rules {
				if rule.isFor(via) {
					env.checkRule(via, rule)
				}
			}
		}
		if got := env.listFleet(); len(got) != 2 {
			t.Errorf("controllers = %d, want the two that were registered before", len(got))
		}
	})
}

// checkRule checks the outcome of a call, and that a refused call changes nothing.
func (env *environment) checkRule(via protocol, rule validationRule) {
	env.t.Helper()
	show := func() string { return env.get("/api/v1/controllers/mc", env.readerToken()).body }
	before := show()
	var want outcome
	if rule.message != "" {
		want = outcome{codes.InvalidArgument, rule.message}
	}

	if got := env.send(via, call{rule.operation, rule.id, rule.fields, env.controllerAuth()}); got != want {
		env.t.Errorf("%s: %s: %s = %v, want %v", via.name, rule.operation, rule.name, got, want)
	}
	if after := show(); rule.message != "" && after != before {
		env.t.Errorf("%s: %s: %s changed the store from %s to %s", via.name, rule.operation, rule.name, before, after)
	}
}

// validFields returns the fields of a valid call of an operation.
func validFields(operation string) map[string]any {
	switch operation {
	case "RegisterMC":
		return registration()
	case "FastHeartbeat":
		return fastHeartbeat()
	default:
		return comprehensiveHeartbeat()
	}
}

func idRules() (rules []validationRule) {
	for _, operation := range []string{"RegisterMC", "FastHeartbeat", "ComprehensiveHeartbeat"} {
		fields := validFields(operation)
		rules = append(rules,
			validationRule{"no id", operation, "", fields, "controller_id is required", "grpc"},
			validationRule{"id of 255", operation, strings.Repeat("i", 255), fields, "", ""},
			validationRule{"id of 256", operation, strings.Repeat("i", 256), fields, "controller_id is too long", ""},
			validationRule{"id with a dot", operation, "a.b", fields, "controller_id contains invalid characters", ""},
			validationRule{"id beyond ASCII", operation, "mć", fields, "controller_id contains invalid characters", ""},
			validationRule{"the first invalid field decides", operation, "a.b", nil, "controller_id contains invalid characters", ""},
		)
	}
	return rules
}

func registrationRules() (rules []validationRule) {
	add := func(name, field string, value any, message string) {
		rules = append(rules, validationRule{name, "RegisterMC", "mc", with(registration(), field, value), message, ""})
	}
	add("no region", "region", nil, "region is required")
	add("region of 50", "region", strings.Repeat("r", 50), "")
	add("region of 51", "region", strings.Repeat("r", 51), "region is too long")
	add("region with a space", "region", "eu west", "region contains invalid characters")

	label := strings.Repeat("a", 63)
	for _, field := range []string{"grpc_endpoint", "webtransport_endpoint"} {
		long := "https://" + label + "." + label + "." + label + "." + strings.Repeat("b", 55)
		add(field+" of 255", field, long, "")
		add(field+" of 256", field, long+"b", field+" is too long")
		for _, valid := range []string{"http://a", "https://a.example:1/", "HTTP://10.0.0.1:65535", "http://[::1]:80"} {
			add(field+" "+valid, field, valid, "")
		}
		for _, invalid := range []string{
			"a.example", "ftp://a", "http://", "http:///", "http://a:0", "http://a:65536", "http://a:", "http://u@a", "http://a?q=1",
			"http://a?", "http://a#f", "http://a/path", "http://-a", "http://a_b", "http://[::1", "http://a b", "http://a\n", "grpc://a:1",
			"http://0.0.0.0", "https://0.0.0.0:4433/", "http://[::]:50052", "http://[0:0:0:0:0:0:0:0]", "http://[::ffff:0.0.0.0]:1",
		} {
			add(field+" "+invalid, field, invalid, field+" must be a valid URL")
		}
	}
	add("no grpc_endpoint", "grpc_endpoint", nil, "grpc_endpoint is required")
	add("no webtransport_endpoint", "webtransport_endpoint", nil, "")

	for _, field := range []string{"max_meetings", "max_participants"} {
		add(field+" of 1", field, 1, "")
		add("no "+field, field, nil, field+" must be greater than 0")
		add(field+" at most", field, 2147483647, "")
		add(field+" too large", field, 2147483648, field+" value too large")
		add(field+" largest on the wire", field, uint32(4294967295), field+" value too large")
	}
	return rules
}

// capacityRules are those of the load and the health in heartbeats.
func capacityRules() (rules []validationRule) {
	for _, operation := range []string{"FastHeartbeat", "ComprehensiveHeartbeat"} {
		add := func(name, field string, value any, message, only string) {
			rules = append(rules, validationRule{name, operation, "mc", with(validFields(operation), field, value), message, only})
		}
		capacity := func(name string, value any) map[string]any {
			return with(map[string]any{"current_meetings": 1, "current_participants": 1}, name, value)
		}

		add("no capacity", "capacity", nil, "capacity is required", "")
		for _, field := range []string{"current_meetings", "current_participants"} {
			add(field+" at most", "capacity", capacity(field, 2147483647), "", "")
			add(field+" too large", "capacity", capacity(field, 2147483648), field+" value too large", "")
		}
		add("limits are ignored", "capacity", capacity("max_meetings", 0), "", "")
		add("a health of 0", "health", 0, "", "")
		add("an unknown health", "health", 77, "", "")
		add("no health", "health", nil, "health is required", "http")
		rules = append(rules, validationRule{"no fields", operation, "mc", map[string]any{}, "capacity is required", ""})
	}
	return rules
}

// usageRules are those of CPU and memory.
func usageRules() (rules []validationRule) {
	for _, field := range []string{"cpu_usage_percent", "memory_usage_percent"} {
		add := func(value any, message, only string) {
			fields := with(comprehensiveHeartbeat(), field, value)
			rules = append(rules, validationRule{field, "ComprehensiveHeartbeat", "mc", fields, message, only})
		}

		for _, valid := range []any{0, 100, 99.5} {
			add(valid, "", "")
		}
		for _, invalid := range []any{-0.5, 100.5} {
			add(invalid, field+" must be between 0 and 100", "")
		}
		for _, invalid := range []any{"NaN", "Infinity", "-Infinity"} { // JSON has no such numbers.
			add(invalid, field+" must be between 0 and 100", "grpc")
		}
	}
	return rules
}
