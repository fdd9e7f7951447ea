package mcclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// ErrNotAllowed means that an endpoint is not covered by the host list, so nothing was sent to it.
var ErrNotAllowed = errors.New("endpoint is not allowed")

// Hosts is a list of hosts that may get the token of the Global Controller: names, patterns of names, and networks.
type Hosts struct {
	names    map[string]bool
	suffixes []string // of patterns such as *.mc.example, with the dot
	networks []netip.Prefix
}

// ParseHosts reads a list that is separated by commas or spaces, such as "mc-1.example, *.mc.example, 10.1.0.0/16". The pattern "*."
// matches one or more labels. An empty list allows loopback addresses only.
func ParseHosts(list string) (Hosts, error) {
	hosts := Hosts{names: make(map[string]bool)}
	entries := strings.FieldsFunc(strings.ToLower(list), func(r rune) bool { return r == ',' || r == ' ' })
	if len(entries) == 0 {
		entries = []string{"localhost", "127.0.0.0/8", "::1/128"}
	}

	for _, entry := range entries {
		if err := hosts.add(entry); err != nil {
			return Hosts{}, err
		}
	}
	return hosts, nil
}

func (h *Hosts) add(entry string) error {
	if prefix, err := netip.ParsePrefix(entry); err == nil {
		h.networks = append(h.networks, prefix.Masked())
		return nil
	}
	if ip, err := netip.ParseAddr(entry); err == nil {
		h.networks = append(h.networks, netip.PrefixFrom(ip, ip.BitLen()))
		return nil
	}

	name, isPattern := strings.CutPrefix(entry, "*.")
	if !isHostName(name) {
		return fmt.Errorf("%q is no host name, pattern such as *.mc.example, or network such as 10.1.0.0/16", entry)
	}
	if isPattern {
		h.suffixes = append(h.suffixes, "."+name)
	} else {
		h.names[name] = true
	}
	return nil
}

func isHostName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// Endpoint is where a controller is called.
type Endpoint struct {
	// Host is a name or an IP address, Port a number.
	Host string
	Port string
	// TLS is true for https.
	TLS bool
}

// String returns HOST:PORT.
func (e Endpoint) String() string { return net.JoinHostPort(e.Host, e.Port) }

// Check parses a controller's grpc_endpoint and reports whether calls to it are allowed. The error wraps [ErrNotAllowed] and names the
// host. A name is checked again when it is resolved: see [Hosts.resolve].
func (h Hosts) Check(grpcEndpoint string) (Endpoint, error) {
	u, err := url.Parse(grpcEndpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return Endpoint{}, fmt.Errorf("%w: it is no http or https URL", ErrNotAllowed)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return Endpoint{}, fmt.Errorf("%w: it has more than a host and a port", ErrNotAllowed)
	}

	endpoint := Endpoint{Host: strings.ToLower(u.Hostname()), Port: u.Port(), TLS: u.Scheme == "https"}
	if endpoint.Port == "" {
		endpoint.Port = "80"
		if endpoint.TLS {
			endpoint.Port = "443"
		}
	}

	if ip, err := netip.ParseAddr(endpoint.Host); err == nil {
		if !h.hasNetwork(ip) {
			return Endpoint{}, fmt.Errorf("%w: %s is in no network of GC_MC_HOSTS", ErrNotAllowed, ip)
		}
		return endpoint, nil
	}
	if !h.hasName(endpoint.Host) {
		return Endpoint{}, fmt.Errorf("%w: %s is not in GC_MC_HOSTS", ErrNotAllowed, endpoint.Host)
	}
	return endpoint, nil
}

func (h Hosts) hasName(name string) bool {
	if h.names[name] {
		return true
	}
	for _, suffix := range h.suffixes {
		if strings.HasSuffix(name, suffix) && len(name) > len(suffix) {
			return true
		}
	}
	return false
}

func (h Hosts) hasNetwork(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, network := range h.networks {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// resolver looks up addresses; [net.DefaultResolver] is one.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// resolve returns the allowed addresses of an endpoint. The caller connects to one of them, so a second lookup cannot lead anywhere
// else. An allowed name may resolve to any ordinary address. Loopback, link-local (cloud metadata), multicast and unspecified
// addresses must be listed as networks.
func (h Hosts) resolve(ctx context.Context, lookup resolver, endpoint Endpoint) ([]netip.AddrPort, error) {
	addresses, err := h.lookup(ctx, lookup, endpoint.Host)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", endpoint.Port)
	if err != nil {
		return nil, fmt.Errorf("port of %s: %w", endpoint, err)
	}

	var allowed []netip.AddrPort
	for _, ip := range addresses {
		if ip = ip.Unmap(); h.hasNetwork(ip) || isOrdinary(ip) {
			allowed = append(allowed, netip.AddrPortFrom(ip, uint16(port))) //nolint:gosec // LookupPort returns at most 65535.
		}
	}
	if len(allowed) == 0 {
		return nil, fmt.Errorf("%w: %s resolves to addresses in no network of GC_MC_HOSTS", ErrNotAllowed, endpoint.Host)
	}
	return allowed, nil
}

func (h Hosts) lookup(ctx context.Context, lookup resolver, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	return lookup.LookupNetIP(ctx, "ip", host)
}

// isOrdinary reports whether a name may resolve to the address without a network in the list.
func isOrdinary(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}
