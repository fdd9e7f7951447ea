package store

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

const (
	defaultPostgresHost = "localhost"
	defaultPostgresPort = "5432"
)

// errInvalidURL does not wrap the parser's error, which can quote the password.
var errInvalidURL = errors.New("invalid database URL")

// postgresAddress is the address of a database on one or several servers.
type postgresAddress struct {
	url *url.URL // Without hosts if servers has them.
	// servers are the servers of the address, in its order. It is empty if the driver selects the server: by the
	// environment, or by hostaddr.
	servers []postgresServer
}

type postgresServer struct{ host, port string }

// ParseAddress parses an address of PostgreSQL and reports whether it names a host.
func ParseAddress(address string) (hasHosts bool, err error) {
	parsed, err := parsePostgresAddress(address)
	return len(parsed.servers) > 0, err
}

// parsePostgresAddress parses a URL as libpq does, with several hosts before the path or in its parameters.
func parsePostgresAddress(address string) (postgresAddress, error) {
	scheme, rest, _ := strings.Cut(address, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return postgresAddress{}, errors.New("invalid database URL: it must be postgres://… or sqlite:PATH")
	}
	authority, tail := cutAuthority(rest)
	user, hosts := cutUser(authority)

	// net/url parses one host only.
	u, err := url.Parse(scheme + "://" + user + tail)
	if err != nil {
		return postgresAddress{}, errInvalidURL
	}
	query := u.Query()
	if hosts == "" && !query.Has("host") || query.Has("hostaddr") {
		u.Host = hosts
		return postgresAddress{url: u}, nil
	}

	servers, err := parseServers(hosts, query)
	if err != nil {
		return postgresAddress{}, err
	}
	query.Del("host")
	query.Del("port")
	u.RawQuery = query.Encode()
	return postgresAddress{url: u, servers: servers}, nil
}

// cutAuthority cuts the part of a URL after the scheme at the end of the authority.
func cutAuthority(rest string) (authority, tail string) {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return rest[:end], rest[end:]
}

// cutUser cuts an authority after the @ that ends the user and the password.
func cutUser(authority string) (user, hosts string) {
	i := strings.LastIndexByte(authority, '@')
	return authority[:i+1], authority[i+1:]
}

// parseServers parses hosts and ports. The parameters host and port replace those before the path.
func parseServers(hosts string, query url.Values) (servers []postgresServer, _ error) {
	names := strings.Split(hosts, ",")
	if query.Has("host") {
		names = strings.Split(query.Get("host"), ",")
	}
	var ports []string
	if query.Has("port") {
		ports = strings.Split(query.Get("port"), ",")
	}
	if len(ports) > 1 && len(ports) != len(names) {
		return nil, fmt.Errorf("invalid database URL: it has %d hosts and %d ports: set one port, or one for each host",
			len(names), len(ports))
	}

	for i, name := range names {
		server, err := parseServer(name, !query.Has("host"))
		if err != nil {
			return nil, err
		}
		switch {
		case server.port != "":
		case len(ports) == 1:
			server.port = ports[0]
		case len(ports) > 1:
			server.port = ports[i]
		}
		if server.port == "" {
			server.port = defaultPostgresPort
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// parseServer parses a host, and its port if the form of the address permits a port after the host.
func parseServer(text string, canHavePort bool) (postgresServer, error) {
	if !canHavePort || strings.HasPrefix(text, "/") {
		if text == "" {
			text = defaultPostgresHost
		}
		return postgresServer{host: text}, nil
	}

	u, err := url.Parse("postgres://" + text)
	if err != nil || strings.ContainsAny(u.Port(), ",") {
		return postgresServer{}, fmt.Errorf("%w: invalid host", errInvalidURL)
	}
	server := postgresServer{host: u.Hostname(), port: u.Port()}
	if server.host == "" {
		server.host = defaultPostgresHost
	}
	return server, nil
}

// parameter returns the value of a parameter of the address.
func (a postgresAddress) parameter(name string) (value string, isSet bool) {
	for set, values := range a.url.Query() {
		if strings.EqualFold(set, name) && len(values) > 0 {
			return values[0], true
		}
	}
	return "", false
}

func (a postgresAddress) isSet(name string) bool {
	_, isSet := a.parameter(name)
	return isSet
}

// driverDefaults are the defaults of the driver's parameters. With binary_parameters a statement is one round trip instead
// of two.
var driverDefaults = map[string]string{"binary_parameters": "yes", "connect_timeout": "5", "TimeZone": "UTC"}

// sources returns a data source for the driver for each server.
func (a postgresAddress) sources(extra map[string]string) (sources []string) {
	if len(a.servers) == 0 {
		return []string{a.source(nil, extra)}
	}
	for i := range a.servers {
		sources = append(sources, a.source(a.servers[i:i+1], extra))
	}
	return sources
}

// source returns a data source for the driver, which tries the servers in their order.
func (a postgresAddress) source(servers []postgresServer, extra map[string]string) string {
	query := a.url.Query()
	for _, defaults := range []map[string]string{driverDefaults, extra} {
		for name, value := range defaults {
			if !a.isSet(name) {
				query.Set(name, value)
			}
		}
	}

	if len(servers) > 0 {
		hosts := make([]string, len(servers))
		ports := make([]string, len(servers))
		for i, server := range servers {
			hosts[i], ports[i] = server.host, server.port
		}
		query.Set("host", strings.Join(hosts, ","))
		query.Set("port", strings.Join(ports, ","))
	}

	u := *a.url
	u.RawQuery = query.Encode()
	return u.String()
}
