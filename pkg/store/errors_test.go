package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	sqlitelib "modernc.org/sqlite/lib"

	"darktower.example/global-controller/service"
)

func TestTranslatePostgresError_CodeWithoutText(t *testing.T) {
	for code, want := range map[string]bool{
		"08006": true, "08001": true, "53300": true, "53100": true, "57014": true, "57P01": true, "57P02": true, "57P03": true, "58030": true,
		"55P03": true, "0A000": true, "55000": true, "40001": true, "40P01": true, "25006": true, "25P03": true,
		"42P01": false, "23505": false, "22001": false, "25P02": false, "28P01": false, "XX000": false,
	} {
		err := translatePostgresError(fmt.Errorf("wrapped: %w", &pq.Error{Code: pqerror.Code(code), Message: "secret", Detail: "secret"}))
		if got := errors.Is(err, service.ErrUnavailable); got != want {
			t.Errorf("%s is unavailable = %v, want %v", code, got, want)
		}

		if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), code) {
			t.Errorf("error = %q, want %s and not the server's text", err, code)
		}
		if got, want := isRetryablePostgres(&pq.Error{Code: pqerror.Code(code)}), code == "40001" || code == "40P01"; got != want {
			t.Errorf("%s is retryable = %v, want %v", code, got, want)
		}
	}
}

func TestTranslateError_LostConnectionIsUnavailable(t *testing.T) {
	for _, translate := range []func(error) error{translatePostgresError, translateSQLiteError} {
		for _, err := range []error{
			driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, sql.ErrConnDone, syscall.ECONNREFUSED,
			&net.OpError{Op: "read", Err: errors.New("reset")}, errors.New(closedText),
		} {
			if got := translate(err); !errors.Is(got, service.ErrUnavailable) {
				t.Errorf("%v = %v, want ErrUnavailable", err, got)
			}
		}
		if mistake := errors.New("a mistake"); !errors.Is(translate(mistake), mistake) {
			t.Error("translate() changed an error of another kind")
		}
	}
}

func TestRun_RetriesConflictOnce(t *testing.T) {
	s := &Store{dialect: postgresDialect(), timeout: time.Minute}
	for failures, want := range map[int]bool{0: true, 1: true, 2: false} {
		calls := 0
		_, err := run(t.Context(), s, "test", func(context.Context) (struct{}, error) {
			if calls++; calls <= failures {
				return struct{}{}, &pq.Error{Code: "40P01"}
			}
			return struct{}{}, nil
		})
		if got := err == nil; got != want || !got && !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("after %d conflicts: %v, want success %v", failures, err, want)
		}
	}
}

func TestRun_AbandonsOperationAfterTimeout(t *testing.T) {
	s := &Store{dialect: postgresDialect(), timeout: 100 * time.Millisecond}
	release, released := make(chan struct{}), make(chan struct{})
	stuck := func(context.Context) (int, error) {
		<-release
		released <- struct{}{}
		return 1, nil
	}

	if got, err := run(t.Context(), s, "test", stuck); got != 0 || !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("run(stuck) = %d, %v, want 0 and ErrUnavailable", got, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := run(ctx, s, "test", stuck); !errors.Is(err, context.Canceled) || errors.Is(err, service.ErrUnavailable) {
		t.Errorf("run(ended context) = %v, want the context's error", err)
	}

	close(release)
	<-released
	<-released
}

func TestRun_PanicReachesCaller(t *testing.T) {
	s := &Store{dialect: postgresDialect(), timeout: time.Minute}
	defer func() {
		if got := recover(); got != "mistake" {
			t.Errorf("recovered %v, want the panic of the operation", got)
		}
	}()
	_, _ = run(t.Context(), s, "test", func(context.Context) (int, error) { panic("mistake") })
	t.Error("run returned, want a panic")
}

// TestErrors_ConditionName checks the texts that operators read in the log.
func TestErrors_ConditionName(t *testing.T) {
	for code, want := range map[string]string{
		"53100": "disk_full (53100)",
		"25006": "read_only_sql_transaction (25006)",
		"42P01": "undefined_table (42P01)",
		"08P01": "protocol_violation (08P01)",
		"53300": "too_many_connections (53300)",
		"57014": "query_canceled (57014)",
		"ZZ999": "database error ZZ999",
	} {
		reported := &pq.Error{Code: pqerror.Code(code), Message: "secret"}
		for _, err := range []error{reported, &connectError{reported}} {
			if got := translatePostgresError(err).Error(); !strings.Contains(got, want) || strings.Contains(got, "secret") {
				t.Errorf("error = %q, want %q", got, want)
			}
		}
	}

	for code, want := range map[int]string{
		sqlitelib.SQLITE_FULL:     "SQLITE_FULL",
		sqlitelib.SQLITE_IOERR:    "SQLITE_IOERR",
		sqlitelib.SQLITE_READONLY: "SQLITE_READONLY",
		sqlitelib.SQLITE_ERROR:    "SQLITE_ERROR",
		250:                       "250",
	} {
		if got := sqliteCodeName(code); got != want {
			t.Errorf("sqliteCodeName(%d) = %q, want %q", code, got, want)
		}
	}
}

func TestErrors_MissingTables(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		s := openUnmigrated(t, Config{URL: url})
		if _, err := s.IsRegistered(t.Context(), "mc"); err == nil || !strings.Contains(err.Error(), "undefined_table") {
			t.Errorf("IsRegistered(no tables) = %v, want undefined_table", err)
		}
		if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "undefined_table") {
			t.Errorf("Ping(no tables) = %v, want undefined_table", err)
		}
	})
}

func TestErrors_SQLiteDiskFull(t *testing.T) {
	s := openMigrated(t, sqliteURL(t))
	s.exec(t, `PRAGMA max_page_count = 1`) // SQLite rounds it up to the current size.
	var err error
	for i := 0; i < 10_000 && err == nil; i++ {
		_, err = s.Register(t.Context(), registration(fmt.Sprint("mc-", i)), "")
	}
	if !errors.Is(err, service.ErrUnavailable) || !strings.Contains(err.Error(), "disk_full (SQLITE_FULL)") {
		t.Errorf("Register(disk full) = %v, want disk_full", err)
	}
}

func TestErrors_ConnectionCause(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for _, tc := range []struct {
		cause error
		want  string
	}{
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), ": connection refused"},
		{dial(&net.DNSError{Err: "no such host", Name: "secret.example"}), ": the host name does not resolve"},
		{dial(os.ErrDeadlineExceeded), ": timeout"},
		{io.ErrUnexpectedEOF, ""},
	} {
		want := "no connection to the database" + tc.want + ": unavailable"
		if got := translatePostgresError(&connectError{tc.cause}); got.Error() != want || !errors.Is(got, service.ErrUnavailable) {
			t.Errorf("translatePostgresError(%v) = %q, want %q", tc.cause, got, want)
		}
	}
}
