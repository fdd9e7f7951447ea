package service

import (
	"math"
	"strings"
	"testing"
)

func TestRegistration_Validate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Registration)
		want   string
	}{
		{"valid", func(*Registration) {}, ""},
		{"no id", func(r *Registration) { r.ControllerID = "" }, "controller_id is required"},
		{"id of 255 bytes", func(r *Registration) { r.ControllerID = strings.Repeat("a", 255) }, ""},
		{"id of 256 bytes", func(r *Registration) { r.ControllerID = strings.Repeat("a", 256) }, "controller_id is too long"},
		{"id with a space", func(r *Registration) { r.ControllerID = "mc 1" }, "controller_id contains invalid characters"},
		{"id with an umlaut", func(r *Registration) { r.ControllerID = "mü" }, "controller_id contains invalid characters"},
		{"no region", func(r *Registration) { r.Region = "" }, "region is required"},
		{"region of 51 bytes", func(r *Registration) { r.Region = strings.Repeat("a", 51) }, "region is too long"},
		{"region with a dot", func(r *Registration) { r.Region = "eu.1" }, "region contains invalid characters"},
		{"no endpoint", func(r *Registration) { r.GRPCEndpoint = "" }, "grpc_endpoint is required"},
		{"long endpoint", func(r *Registration) { r.GRPCEndpoint = "http://" + strings.Repeat("a", 249) }, "grpc_endpoint is too long"},
		{"bad endpoint", func(r *Registration) { r.GRPCEndpoint = "mc:50051" }, "grpc_endpoint must be a valid URL"},
		{"no webtransport", func(r *Registration) { r.WebTransportEndpoint = "" }, ""},
		{"bad webtransport", func(r *Registration) { r.WebTransportEndpoint = "quic://a" }, "webtransport_endpoint must be a valid URL"},
		{"no meetings", func(r *Registration) { r.MaxMeetings = 0 }, "max_meetings must be greater than 0"},
		{"too many meetings", func(r *Registration) { r.MaxMeetings = math.MaxInt32 + 1 }, "max_meetings value too large"},
		{"no participants", func(r *Registration) { r.MaxParticipants = 0 }, "max_participants must be greater than 0"},
		{"too many participants", func(r *Registration) { r.MaxParticipants = math.MaxUint32 }, "max_participants value too large"},
		{"the first failing field decides", func(r *Registration) { r.MaxMeetings, r.Region = 0, "" }, "region is required"},
	}

	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := Registration{
				ControllerID: "mc-1", Region: "eu-west-1", GRPCEndpoint: "http://mc-1:50051",
				WebTransportEndpoint: "https://mc-1:4433/", MaxMeetings: math.MaxInt32, MaxParticipants: 1,
			}
			tc.change(&r)
			wantInvalid(t, r.Validate(), tc.want)
		})
	}
}

func TestHeartbeat_Validate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*ComprehensiveHeartbeat)
		want   string
	}{
		{"valid", func(*ComprehensiveHeartbeat) {}, ""},
		{"no id", func(h *ComprehensiveHeartbeat) { h.ControllerID = "" }, "controller_id is required"},
		{"no capacity", func(h *ComprehensiveHeartbeat) { h.Load = nil }, "capacity is required"},
		{
			"too many meetings",
			func(h *ComprehensiveHeartbeat) { h.Load.CurrentMeetings = math.MaxInt32 + 1 },
			"current_meetings value too large",
		},
		{
			"too many participants",
			func(h *ComprehensiveHeartbeat) { h.Load.CurrentParticipants = math.MaxInt32 + 1 },
			"current_participants value too large",
		},
		{"negative meetings", func(h *ComprehensiveHeartbeat) { h.Load.CurrentMeetings = -1 }, "current_meetings must not be negative"},
		{
			"CPU not a number",
			func(h *ComprehensiveHeartbeat) { h.CPUUsagePercent = math.NaN() },
			"cpu_usage_percent must be between 0 and 100",
		},
		{"CPU above 100", func(h *ComprehensiveHeartbeat) { h.CPUUsagePercent = 100.1 }, "cpu_usage_percent must be between 0 and 100"},
		{
			"infinite memory",
			func(h *ComprehensiveHeartbeat) { h.MemoryUsagePercent = math.Inf(1) },
			"memory_usage_percent must be between 0 and 100",
		},
		{
			"negative memory",
			func(h *ComprehensiveHeartbeat) { h.MemoryUsagePercent = -1 },
			"memory_usage_percent must be between 0 and 100",
		},
	}

	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			h := ComprehensiveHeartbeat{FastHeartbeat: FastHeartbeat{ControllerID: "mc-1", Load: &LoadReport{}}, CPUUsagePercent: 100}
			tc.change(&h)
			wantInvalid(t, h.Validate(), tc.want)
		})
	}
}

func wantInvalid(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("Validate() = %q, want %q", got, want)
	}
}

func TestIsValidEndpointURL(t *testing.T) {
	for _, valid := range []string{
		"http://mc", "https://mc.example.com:1", "http://mc:65535/", "http://10.0.0.1:50051", "https://[::1]:4433", "http://[2001:db8::1]/",
		"HTTP://mc", "http://0x0.example", "http://0.0.0.1", "http://[::ffff:1.2.3.4]",
	} {
		if !IsValidEndpointURL(valid) {
			t.Errorf("ValidEndpointURL(%q) = false, want true", valid)
		}
	}

	tests := []string{
		"", "mc:1", "ftp://mc", "http://", "http:///", "http://mc:0", "http://mc:65536", "http://mc:", "http://mc:+1", "http://mc:1/x",
		"http://mc//",
		"http://u@mc", "http://u:p@mc", "http://mc?", "http://mc#", "http://mc?q=1", "http://a..b", "http://mc_1", "http://m c", "http://mc\x00",
		"http://0.0.0.0", "http://0.0.0.0:1/", "http://[::]", "http://[::]:1", "http://[::0]", "http://[0:0:0:0:0:0:0:0]", "http://[0000::0000]",
		"http://[::0.0.0.0]", "http://[::ffff:0.0.0.0]", "http://[0:0:0:0:0:ffff:0:0]", "http://[::FFFF:0:0]", "http://0", "http://0.0",
		"http://0.0.0", "http://00.0.0.0",
		"http://0x0", "http://0X0:1", "http://0x0.0x0.0x0.0x0", "http://0.0.0.0x0", "http://0.0.0.0x", "http://0.0.0.0.",
		"http://[::1", "http://[1.2.3.4]", "http://[::1]x", "http://[fe80::1%25eth0]", "http://::1", "http://" + strings.Repeat("a", 64),
		"http://mc\\x", "http://%6d",
	}

	for _, invalid := range tests {
		if IsValidEndpointURL(invalid) {
			t.Errorf("ValidEndpointURL(%q) = true, want false", invalid)
		}
	}
}

func FuzzIsValidEndpointURL(f *testing.F) {
	for _, seed := range []string{"http://mc:50051", "https://[::1]:1/", "http://a..b", "http://[", "http://u@h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if IsValidEndpointURL(s) && strings.ContainsAny(s, "@?# \\%\x00\r\n") {
			t.Errorf("ValidEndpointURL(%q) = true, want false", s)
		}
	})
}
