package daemon

import (
	"net/url"
	"strings"
)

const (
	redacted = "REDACTED"
	// maxShownWord bounds what may be taken for a word of the command line or the name of a setting.
	maxShownWord = 64
)

// shown is a value as it may be printed.
func (s setting) shown(value string) string {
	if s.secret {
		return redact(value)
	}
	return value
}

// redact shows an address of an allowed form without its password and parameters. In any other text a password may be
// anywhere, as in "host=db password=…", which lib/pq would take and we do not: nothing of it is shown.
func redact(value string) string {
	if value == "" {
		return ""
	}
	if strings.HasPrefix(value, "sqlite:") && !strings.ContainsAny(value, "?#@=") {
		return value
	}
	u, err := url.Parse(value)
	if err != nil || !isPostgres(value) && !isHTTP(value) || isTorn(u) {
		return redacted
	}
	_, hasPassword := u.User.Password()
	switch {
	case hasPassword && isPostgres(value):
		u.User = url.UserPassword(u.User.Username(), redacted)
	case u.User != nil && isHTTP(value): // There the name is often the secret.
		u.User = url.User(redacted)
	}
	if u.RawQuery != "" {
		u.RawQuery = redacted
	}
	return u.String()
}

// isTorn tells whether an address may be one whose password has an unescaped character that ends the host, so that the
// rest of the password looks like a path, parameters or a fragment.
func isTorn(u *url.URL) bool {
	return u.Fragment != "" || strings.ContainsAny(u.Path, "@= ") || strings.Contains(u.RawQuery, "@")
}
