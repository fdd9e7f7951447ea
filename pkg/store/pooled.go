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

// A pooler in transaction mode gives each transaction whatever connection to the server is free. So a statement is sent
// together with its settings, as one query of several statements, which the server runs as one transaction; values are
// written into its text, because the protocol gives a query of several statements no parameters. That is one round trip,
// as it is without a pooler.

// pooledStatementAttempts bounds how often a statement is sent to connections that do not have it as it is wanted.
const pooledStatementAttempts = 4

// useTransactionSettings has the session set its settings in each transaction.
func (s *session) useTransactionSettings(settings []setting, autocommit bool) {
	var b strings.Builder
	for _, own := range settings {
		// The isolation is that with which the transaction begins.
		if own.name != isolationSetting {
			b.WriteString("SET LOCAL " + pq.QuoteIdentifier(own.name) + " = " + pq.QuoteLiteral(own.value) + "; ")
		}
	}
	s.pooled, s.perTransaction = true, b.String()
	if autocommit {
		s.perStatement = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; " + s.perTransaction
	}
}

// pooledTransaction is a transaction whose statements need no settings of their own.
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
// made of its text, so a name that is there always stands for this statement, whichever process has prepared it.
type pooledStatement struct {
	session       *session
	name, prepare string
}

func newPooledStatement(s *session, query string) *pooledStatement {
	digest := sha256.Sum256([]byte(query))
	name := "gc_" + hex.EncodeToString(digest[:12])
	return &pooledStatement{session: s, name: name, prepare: "PREPARE " + name + " AS " + query + "; "}
}

// Close implements [driver.Stmt]. The statement stays where it was prepared, for whatever process uses it next.
func (p *pooledStatement) Close() error { return nil }

// NumInput implements [driver.Stmt]: the server counts.
func (p *pooledStatement) NumInput() int { return -1 }

// Exec implements [driver.Stmt].
func (p *pooledStatement) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }

// Query implements [driver.Stmt].
func (p *pooledStatement) Query([]driver.Value) (driver.Rows, error) { return nil, driver.ErrSkip }

// QueryContext implements [driver.StmtQueryContext].
func (p *pooledStatement) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = p.run(args, func(text string) (err error) {
		rows, err = p.session.inner.QueryContext(ctx, text, nil)
		return err
	})
	return rows, err
}

// ExecContext implements [driver.StmtExecContext].
func (p *pooledStatement) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	err = p.run(args, func(text string) (err error) {
		result, err = p.session.inner.ExecContext(ctx, text, nil)
		return err
	})
	return result, err
}

// run sends the statement, and what prepares it where the connection to the server does not have it. A name that is
// missing, is there already or stands for a plan that no longer fits is found before anything is done.
func (p *pooledStatement) run(args []driver.NamedValue, send func(text string) error) error {
	settings := ""
	if !p.session.inTransaction {
		settings = p.session.perStatement
	}

	execute, err := executeText(p.name, args)
	if err != nil {
		return err
	}

	before := ""
	for range pooledStatementAttempts {
		err = send(settings + before + execute)
		var server *pq.Error
		if !errors.As(err, &server) || p.session.inTransaction {
			break // A failed transaction cannot continue.
		}
		switch server.Code {
		case "26000": // There is none of that name.
			before = p.prepare
			continue
		case "42P05": // It is there by now.
			before = ""
			continue
		case "0A000": // Its result is no longer what it was.
			before = "DEALLOCATE " + p.name + "; " + p.prepare
			continue
		}
		break
	}

	return p.session.noteError(err)
}

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

// inlineValues returns a statement of this package with its values in place of $1, $2, and so on, preceded by settings.
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

// writeLiteral writes a value as a literal without a type, so that the server infers the type as it does a parameter's.
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
		return fmt.Errorf("a %T cannot be written into a statement", value)
	}

	return nil
}
