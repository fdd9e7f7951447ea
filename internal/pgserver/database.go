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

// statementTimeout limits a statement that creates or drops a database.
const statementTimeout = 30 * time.Second

// errNotURL hides the parser's error, which may contain a password.
var errNotURL = errors.New("the address of the database is not a URL")

// NewDatabase creates an empty database at the server with the address admin. Its name begins with prefix. It returns the
// database's address and a function that drops it.
func NewDatabase(admin, prefix string) (address string, drop func() error, err error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", nil, errNotURL
	}

	name := prefix + strings.ToLower(rand.Text())
	if err := execute(admin, "CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}

	u.Path = "/" + name
	return u.String(), func() error { return dropDatabase(admin, name) }, nil
}

// CopyDatabase copies the database at an address, which must have no connections. It returns the name of the copy and a function
// that drops it.
func CopyDatabase(admin, address string) (name string, drop func() error, err error) {
	original, err := databaseName(address)
	if err != nil {
		return "", nil, err
	}

	name = original + "_copy_" + strings.ToLower(rand.Text()[:8])
	if err := execute(admin, "CREATE DATABASE "+name+" TEMPLATE "+original); err != nil {
		return "", nil, err
	}
	return name, func() error { return dropDatabase(admin, name) }, nil
}

// ReplaceDatabase replaces the database at an address by a copy of the database with the name.
func ReplaceDatabase(admin, address, name string) error {
	replaced, err := databaseName(address)
	if err != nil {
		return err
	}
	if err := dropDatabase(admin, replaced); err != nil {
		return err
	}
	return execute(admin, "CREATE DATABASE "+replaced+" TEMPLATE "+name)
}

func dropDatabase(admin, name string) error {
	return execute(admin, "DROP DATABASE "+name+" WITH (FORCE)")
}

func execute(address, statement string) error {
	db, err := sqlx.Open("postgres", address)
	if err != nil {
		return fmt.Errorf("open PostgreSQL: %w", err)
	}
	defer func() { _ = db.Close() }()

	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func databaseName(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errNotURL
	}
	return strings.TrimPrefix(u.Path, "/"), nil
}
