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

// postgresAddress is the address of a database, which one or several servers may hold.
type postgresAddress struct {
	url *url.URL // Without hosts when servers names them.
	// servers are those that the address names, in its order. It is empty where the driver is to find the server
	// itself: by the environment, or by hostaddr.
	servers []postgresServer
}

type postgresServer struct{ host, port string }

// ParseAddress returns an error when an address of PostgreSQL is not understood, and whether it names a host.
func ParseAddress(address string) (hasHosts bool, err error) {
	parsed, err := parsePostgres(address)
	return len(parsed.servers) > 0, err
}

// parsePostgres reads an address: a URL as libpq reads it, with several hosts before the path or in its parameters.
func parsePostgres(address string) (postgresAddress, error) {
	scheme, rest, _ := strings.Cut(address, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return postgresAddress{}, errors.New("the address of a database is postgres://… or sqlite:PATH")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	// net/url parses one host only.
	u, err := url.Parse(scheme + "://" + user + tail)
	if err != nil {
		return postgresAddress{}, errors.New("the address of the database is not a URL")
	}

	a := postgresAddress{url: u}
	query := u.Query()
	if hosts == "" && !query.Has("host") || query.Has("hostaddr") {
		u.Host = hosts
		return a, nil
	}
	names, ports := strings.Split(hosts, ","), []string(nil)
	if query.Has("host") {
		names = strings.Split(query.Get("host"), ",")
	}
	if query.Has("port") {
		ports = strings.Split(query.Get("port"), ",")
	}
	if len(ports) > 1 && len(ports) != len(names) {
		return postgresAddress{}, fmt.Errorf("the address of the database has %d hosts and %d ports: write one port, or one for each host",
			len(names), len(ports))
	}
	for i, name := range names {
		server, err := parseServer(name, !query.Has("host"))
		if err != nil {
			return postgresAddress{}, err
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
		a.servers = append(a.servers, server)
	}
	query.Del("host")
	query.Del("port")
	u.RawQuery = query.Encode()
	return a, nil
}

// parseServer reads a host, and its port where the form of the address lets it follow the host.
func parseServer(text string, withPort bool) (postgresServer, error) {
	if !withPort || strings.HasPrefix(text, "/") {
		if text == "" {
			text = defaultPostgresHost
		}
		return postgresServer{host: text}, nil
	}
	u, err := url.Parse("postgres://" + text)
	if err != nil || strings.ContainsAny(u.Port(), ",") {
		return postgresServer{}, errors.New("the address of the database is not a URL: a host is not understood")
	}
	server := postgresServer{host: u.Hostname(), port: u.Port()}
	if server.host == "" {
		server.host = defaultPostgresHost
	}
	return server, nil
}

// parameter returns the value that the address gives to a parameter.
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

// driverDefaults are the parameters of the driver where an address does not set them. With binary_parameters a
// statement is one round trip instead of two.
var driverDefaults = map[string]string{"binary_parameters": "yes", "connect_timeout": "5", "TimeZone": "UTC"}

// sources returns what the driver connects by: one for each server.
func (a postgresAddress) sources(extra map[string]string) (sources []string) {
	if len(a.servers) == 0 {
		return []string{a.source(nil, extra)}
	}
	for i := range a.servers {
		sources = append(sources, a.source(a.servers[i:i+1], extra))
	}
	return sources
}

// source returns what the driver connects by to one of several servers, in their order.
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
		hosts, ports := make([]string, len(servers)), make([]string, len(servers))
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
