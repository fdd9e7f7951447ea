package mcclient

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

func mustParse(t *testing.T, list string) Hosts {
	t.Helper()
	hosts, err := ParseHosts(list)
	if err != nil {
		t.Fatalf("ParseHosts(%q) = %v", list, err)
	}
	return hosts
}

func TestParseHosts_Invalid(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"*", "*.", "mc_1.example", "10.0.0.0/33", "-a.example", "http://mc.example", "mc.example:50052"} {
		if _, err := ParseHosts(list); err == nil {
			t.Errorf("ParseHosts(%q) = nil, want an error", list)
		}
	}
}

func TestHosts_Check(t *testing.T) {
	t.Parallel()
	const list = "mc-1.example, *.mc.example 10.1.0.0/16"
	for _, tc := range []struct {
		list, endpoint string
		want           string // empty: not allowed
	}{
		{"", "http://127.0.0.1:50052", "127.0.0.1:50052"},
		{"", "http://localhost:50052/", "localhost:50052"},
		{"", "http://[::1]:50052", "[::1]:50052"},
		{"", "http://10.1.2.3:50052", ""},
		{"", "http://169.254.169.254", ""},
		{list, "https://mc-1.example", "mc-1.example:443"},
		{list, "http://MC-1.example", "mc-1.example:80"},
		{list, "https://a.b.mc.example:50052", "a.b.mc.example:50052"},
		{list, "https://mc.example:50052", ""},
		{list, "https://evilmc.example:50052", ""},
		{list, "http://10.1.255.1:50052", "10.1.255.1:50052"},
		{list, "http://[::ffff:10.1.255.1]:50052", "[::ffff:10.1.255.1]:50052"},
		{list, "http://10.2.0.1:50052", ""},
		{list, "http://127.0.0.1:50052", ""},
		{list, "http://localhost:50052", ""},
		{list, "http://169.254.169.254:80", ""},
		{list, "https://user:secret@mc-1.example", ""},
		{list, "https://mc-1.example/path", ""},
		{list, "https://mc-1.example?x=y", ""},
		{list, "ftp://mc-1.example", ""},
		{list, "mc-1.example:50052", ""},
	} {
		got, err := mustParse(t, tc.list).Check(tc.endpoint)
		if tc.want == "" && !errors.Is(err, ErrNotAllowed) {
			t.Errorf("Check(%q) with %q = %v, %v, want ErrNotAllowed", tc.endpoint, tc.list, got, err)
		}
		if tc.want != "" && (err != nil || got.String() != tc.want) {
			t.Errorf("Check(%q) with %q = %v, %v, want %s", tc.endpoint, tc.list, got, err, tc.want)
		}
	}
}

// fixedResolver returns the same addresses for each name.
type fixedResolver []string

func (f fixedResolver) LookupNetIP(context.Context, string, string) (addresses []netip.Addr, _ error) {
	for _, address := range f {
		addresses = append(addresses, netip.MustParseAddr(address))
	}
	return addresses, nil
}

func TestHosts_ResolveRefusesSpecialAddresses(t *testing.T) {
	t.Parallel()
	hosts := mustParse(t, "mc.example")
	endpoint := Endpoint{Host: "mc.example", Port: "50052"}
	for _, address := range []string{"127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:127.0.0.1"} {
		if got, err := hosts.resolve(t.Context(), fixedResolver{address}, endpoint); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("resolve() to %s = %v, %v, want ErrNotAllowed", address, got, err)
		}
	}

	got, err := hosts.resolve(t.Context(), fixedResolver{"127.0.0.1", "10.0.0.7"}, endpoint)
	if err != nil || len(got) != 1 || got[0].String() != "10.0.0.7:50052" {
		t.Errorf("resolve() = %v, %v, want the ordinary address only", got, err)
	}
	listed := mustParse(t, "mc.example 127.0.0.0/8")
	if got, err := listed.resolve(t.Context(), fixedResolver{"127.0.0.1"}, endpoint); err != nil || len(got) != 1 {
		t.Errorf("resolve() = %v, %v, want the listed loopback address", got, err)
	}
}
