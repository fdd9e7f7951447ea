package daemon

import (
	"net/url"
	"strings"
)

const (
	redactedText = "REDACTED"
	// maxShownWord is the longest word of the command line, or name of a setting, that an error shows.
	maxShownWord = 64
)

// redactValue returns a value as it may be printed.
func (s setting) redactValue(value string) string {
	if s.isSecret {
		return redact(value)
	}
	return value
}

// redact returns an address without its password and parameters. In a text that is not a valid address, the password may be
// anywhere, as in "host=db password=…", which lib/pq would accept; such a text is not shown at all.
func redact(value string) string {
	if value == "" {
		return ""
	}
	if strings.HasPrefix(value, sqliteScheme) && !strings.ContainsAny(value, "?#@=") {
		return value
	}
	u, err := url.Parse(value)
	if err != nil || !isPostgres(value) && !isHTTP(value) || hasSplitPassword(u) {
		return redactedText
	}

	_, hasPassword := u.User.Password()
	switch {
	case hasPassword && isPostgres(value):
		u.User = url.UserPassword(u.User.Username(), redactedText)
	case u.User != nil && isHTTP(value): // Over HTTP the user name often is the secret.
		u.User = url.User(redactedText)
	}
	if u.RawQuery != "" {
		u.RawQuery = redactedText
	}
	return u.String()
}

// hasSplitPassword reports whether the password may contain an unescaped character that ends the host. The rest of such a
// password looks like a path, parameters or a fragment.
func hasSplitPassword(u *url.URL) bool {
	return u.Fragment != "" || strings.ContainsAny(u.Path, "@= ") || strings.Contains(u.RawQuery, "@")
}
