package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// NewDatabase makes an empty database, whose name begins with prefix, at the server that admin is the address of. It
// returns its address and what drops it.
func NewDatabase(admin, prefix string) (address string, drop func() error, err error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", nil, errors.New("the address of the database is not a URL") // The parser's error can quote a password.
	}
	name := prefix + strings.ToLower(rand.Text())
	if err := execute(admin, "CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}
	u.Path = "/" + name
	return u.String(), func() error { return execute(admin, "DROP DATABASE "+name+" WITH (FORCE)") }, nil
}

func execute(address, statement string) error {
	db, err := sqlx.Open("postgres", address)
	if err != nil {
		return fmt.Errorf("open PostgreSQL: %w", err)
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// CopyDatabase copies the database at an address, to which nothing may be connected, under a name of its own. It returns
// the copy's name and what drops it.
func CopyDatabase(admin, address string) (name string, drop func() error, err error) {
	from, err := databaseOf(address)
	if err != nil {
		return "", nil, err
	}
	name = from + "_copy_" + strings.ToLower(rand.Text()[:8])
	if err := execute(admin, "CREATE DATABASE "+name+" TEMPLATE "+from); err != nil {
		return "", nil, err
	}
	return name, func() error { return execute(admin, "DROP DATABASE "+name+" WITH (FORCE)") }, nil
}

// ReplaceDatabase puts a copy in the place of the database at an address.
func ReplaceDatabase(admin, address, name string) error {
	to, err := databaseOf(address)
	if err != nil {
		return err
	}
	if err := execute(admin, "DROP DATABASE "+to+" WITH (FORCE)"); err != nil {
		return err
	}
	return execute(admin, "CREATE DATABASE "+to+" TEMPLATE "+name)
}

func databaseOf(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the address of the database is not a URL") // The parser's error can quote a password.
	}
	return strings.TrimPrefix(u.Path, "/"), nil
}
