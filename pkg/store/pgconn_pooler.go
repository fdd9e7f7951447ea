package store

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"
)

// A pooler in transaction mode runs each transaction on any free connection to the server. So a statement is sent together
// with its settings, as one query of several statements, which the server runs as one transaction. Values are
// written into its text, because the protocol permits no parameters in a query of several statements. This is one round
// trip, as it is without a pooler.

// maxPooledAttempts limits how often a statement is sent to connections on which it is not prepared, or prepared for
// another schema.
const maxPooledAttempts = 4

// useTransactionSettings makes the session set its settings in each transaction.
func (s *session) useTransactionSettings(settings []setting, setsPerStatement bool) {
	var b strings.Builder
	for _, own := range settings {
		// The transaction begins with its isolation.
		if own.name != isolationSetting {
			b.WriteString("SET LOCAL " + pq.QuoteIdentifier(own.name) + " = " + pq.QuoteLiteral(own.value) + "; ")
		}
	}

	s.isPooled = true
	s.transactionSettings = b.String()
	if setsPerStatement {
		s.statementSettings = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; " + s.transactionSettings
	}
}

// pooledTransaction is a transaction that has set its settings, so that its statements do not.
type pooledTransaction struct {
	driver.Tx
	session *session
}

// Commit implements [driver.Tx].
func (t *pooledTransaction) Commit() error {
	t.session.inTransaction = false
	return t.session.noteError(t.Tx.Commit())
}

// Rollback implements [driver.Tx].
func (t *pooledTransaction) Rollback() error {
	t.session.inTransaction = false
	return t.session.noteError(t.Tx.Rollback())
}

// pooledStatement is a statement that each connection to the server prepares when it is first used there. Its name is
// a digest of its text, so a name always means this statement, whichever process has prepared it.
type pooledStatement struct {
	session    *session
	name       string
	prepareSQL string
}

func newPooledStatement(s *session, query string) *pooledStatement {
	digest := sha256.Sum256([]byte(query))
	name := "gc_" + hex.EncodeToString(digest[:12])
	return &pooledStatement{session: s, name: name, prepareSQL: "PREPARE " + name + " AS " + query + "; "}
}

// Close implements [driver.Stmt]. The connections keep the statement for the next process that uses it.
func (p *pooledStatement) Close() error { return nil }

// NumInput implements [driver.Stmt]. The server checks the number of parameters.
func (p *pooledStatement) NumInput() int { return -1 }

// Exec implements [driver.Stmt].
func (p *pooledStatement) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }

// Query implements [driver.Stmt].
func (p *pooledStatement) Query([]driver.Value) (driver.Rows, error) { return nil, driver.ErrSkip }

// QueryContext implements [driver.StmtQueryContext].
func (p *pooledStatement) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = p.send(args, func(text string) (err error) {
		rows, err = p.session.inner.QueryContext(ctx, text, nil)
		return err
	})
	return rows, err
}

// ExecContext implements [driver.StmtExecContext].
func (p *pooledStatement) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	err = p.send(args, func(text string) (err error) {
		result, err = p.session.inner.ExecContext(ctx, text, nil)
		return err
	})
	return result, err
}

// send sends the statement. If the connection to the server does not have it, send tries again with the statement that
// prepares it. The server rejects a missing name, a duplicate name or an outdated plan before it executes the
// statement.
func (p *pooledStatement) send(args []driver.NamedValue, sendText func(text string) error) error {
	settings := ""
	if !p.session.inTransaction {
		settings = p.session.statementSettings
	}

	execute, err := executeText(p.name, args)
	if err != nil {
		return err
	}

	prepare := ""
	for range maxPooledAttempts {
		err = sendText(settings + prepare + execute)
		var server *pq.Error
		if !errors.As(err, &server) || p.session.inTransaction {
			break // A failed transaction cannot continue.
		}
		switch server.Code {
		case "26000": // It is not prepared.
			prepare = p.prepareSQL
			continue
		case "42P05": // Another client has prepared it meanwhile.
			prepare = ""
			continue
		case "0A000": // The columns of its result have changed.
			prepare = "DEALLOCATE " + p.name + "; " + p.prepareSQL
			continue
		}
		break
	}

	return p.session.noteError(err)
}

// executeText returns the EXECUTE of a prepared statement with its values.
func executeText(name string, args []driver.NamedValue) (string, error) {
	size := len(name) + 16
	for _, a := range args {
		if text, ok := a.Value.(string); ok {
			size += len(text) + 8
		} else {
			size += 24
		}
	}

	var b strings.Builder
	b.Grow(size)
	b.WriteString("EXECUTE " + name)
	for i, a := range args {
		if i == 0 {
			b.WriteByte('(')
		} else {
			b.WriteByte(',')
		}
		if err := writeLiteral(&b, a.Value); err != nil {
			return "", err
		}
	}
	if len(args) > 0 {
		b.WriteByte(')')
	}

	return b.String(), nil
}

// inlineValues returns the settings followed by a statement of this package with its values in place of $1, $2, and so on.
func inlineValues(settings, query string, args []driver.NamedValue) (string, error) {
	var b strings.Builder
	b.Grow(len(settings) + len(query) + 32*len(args))
	b.WriteString(settings)

	isQuoted := false
	for i := 0; i < len(query); i++ {
		if query[i] == '\'' {
			isQuoted = !isQuoted
		}

		end := i + 1
		for end < len(query) && query[end] >= '0' && query[end] <= '9' {
			end++
		}
		if isQuoted || query[i] != '$' || end == i+1 {
			b.WriteByte(query[i])
			continue
		}

		n, err := strconv.Atoi(query[i+1 : end])
		if err != nil || n < 1 || n > len(args) {
			return "", fmt.Errorf("the statement has no value for $%s", query[i+1:end])
		}
		if err := writeLiteral(&b, args[n-1].Value); err != nil {
			return "", err
		}
		i = end - 1
	}

	return b.String(), nil
}

// writeLiteral writes a value as a literal without a type. The server infers the type, as it does for a parameter.
func writeLiteral(b *strings.Builder, value driver.Value) error {
	switch v := value.(type) {
	case nil:
		b.WriteString("NULL")
	case int64:
		b.WriteString("'" + strconv.FormatInt(v, 10) + "'")
	case float64:
		b.WriteString("'" + strconv.FormatFloat(v, 'g', -1, 64) + "'")
	case bool:
		b.WriteString("'" + strconv.FormatBool(v) + "'")
	case string:
		b.WriteByte(' ') // A literal may begin with a letter.
		b.WriteString(pq.QuoteLiteral(v))
	case time.Time:
		b.WriteString(pq.QuoteLiteral(string(pq.FormatTimestamp(v))))
	default:
		return fmt.Errorf("write a value into a statement: unsupported type %T", value)
	}

	return nil
}
