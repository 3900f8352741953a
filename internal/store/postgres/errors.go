package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"adsync/internal/store"
)

// sqlState is PostgreSQL's code of an error, empty where err is not the server's.
func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// aboutData says that a statement failed because of the values in it.
func aboutData(err error) bool {
	switch c := sqlState(err); {
	case len(c) != 5:
		return false
	default:
		return c[:2] == "22" || c[:2] == "23" || c[:2] == "54"
	}
}

const (
	codeReadOnly       = "25006"
	codeTimeout        = "57014"
	codeTooMany        = "53300"
	codeDeadlock       = "40P01"
	codeSerialization  = "40001"
	codeLockTimeout    = "55P03"
	codeUniqueConflict = "23505"
	codeNoRight        = "42501"
	codeNoTable        = "42P01"
)

// lost says that the connection is gone, or that the server will not talk just now.
func lost(err error) bool {
	switch c := sqlState(err); {
	case strings.HasPrefix(c, "08"), c == "57P01", c == "57P02", c == "57P03", c == "57P05", c == codeTooMany, c == "25P03":
		return true
	case c != "":
		return false
	}
	var ne net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "closed connection")
}

// pause says how long it is worth waiting before another try.
func pause(err error) time.Duration {
	switch sqlState(err) {
	case codeDeadlock, codeSerialization, "55006", "XX000":
		return 20 * time.Millisecond
	case codeReadOnly: // a server that is being failed over
		return 250 * time.Millisecond
	}
	if lost(err) {
		return 250 * time.Millisecond
	}
	return 0
}

// callbackError carries a caller's own error through a transaction unchanged.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }
func (e *callbackError) Unwrap() error { return e.err }

// place names the database in errors.
type place struct{ host, database, user string }

func (p place) String() string { return fmt.Sprintf("%s at %s", p.database, p.host) }

// error says in words what is the matter. Errors of the contract and of contexts pass as they are.
func (p place) error(ctx context.Context, op string, err error) error {
	var se *store.Error
	var be *store.BusyError
	var cb *callbackError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &cb):
		return cb.err
	case errors.As(err, &se), errors.As(err, &be), errors.Is(err, store.ErrFenced):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	e := &store.Error{Kind: store.KindOther, Op: op, Err: err}
	switch c := sqlState(err); {
	case c == "28P01", c == "28000":
		e.Kind, e.Message = store.KindDenied, fmt.Sprintf("%s refuses the user %s: %s", p.host, p.user, words(err))
		e.Hint = "check user and password of the database"
	case c == "3D000":
		e.Kind, e.Message, e.Hint = store.KindUnreachable, fmt.Sprintf("there is no database %s at %s", p.database, p.host), "create it, or name another one"
	case c == codeNoRight:
		e.Kind, e.Message = store.KindDenied, fmt.Sprintf("the user %s may not do this in %s: %s", p.user, p, words(err))
		e.Hint = "grant the right that is named, or run adsync migrate once as the owner of the tables"
	case c == "53100", errors.Is(err, syscall.ENOSPC):
		e.Kind, e.Message, e.Hint = store.KindFull, fmt.Sprintf("the disk of %s is full: %s", p.host, words(err)), "make room and run again: it goes on where the last commit was"
	case c == codeReadOnly:
		e.Kind, e.Message, e.Hint = store.KindReadOnly, fmt.Sprintf("%s is read-only: %s", p, words(err)), "connect to the primary server, not to a replica"
	case c == codeNoTable, c == "42703", c == "3F000":
		e.Kind, e.Message, e.Hint = store.KindSchema, fmt.Sprintf("%s has not the schema that this binary needs (%s)", p, words(err)), "run: adsync migrate"
	case c == codeLockTimeout, c == codeTimeout:
		e.Kind, e.Message, e.Hint = store.KindLocked, fmt.Sprintf("%s: %s", p, words(err)), "look in pg_stat_activity for who holds the lock"
	case c == codeTooMany:
		e.Kind, e.Message = store.KindUnreachable, fmt.Sprintf("%s has no connection to spare: %s", p.host, words(err))
		e.Hint = "raise max_connections, or lower pool_max_conns in the database's address"
	case c == "XX001", c == "XX002":
		e.Kind, e.Message, e.Hint = store.KindDamaged, fmt.Sprintf("%s is damaged: %s", p, words(err)), "restore it from a backup"
	case lost(err), errors.Is(err, context.DeadlineExceeded), isConnect(err):
		e.Kind, e.Message = store.KindUnreachable, fmt.Sprintf("%s cannot be reached: %s", p.host, reason(err))
		e.Hint = "check that the server runs and that host, port and firewall are right"
	default:
		e.Message = fmt.Sprintf("%s: %s", p, words(err))
	}
	return e
}

func isConnect(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// words is the server's message. It never holds the address, which has the password in it.
func words(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return reason(err)
	}
	s := e.Message
	if e.ConstraintName != "" && !strings.Contains(s, e.ConstraintName) {
		s += " (" + e.ConstraintName + ")"
	}
	if e.ColumnName != "" && !strings.Contains(s, e.ColumnName) {
		s += " (column " + e.ColumnName + ")"
	}
	return s + " (SQLSTATE " + e.Code + ")"
}

// reason is why there is no connection, in words that name no more than host and port.
func reason(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var ne net.Error
	switch {
	case errors.As(err, &dns):
		return "the name " + dns.Name + " is not known"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "no answer in time"
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the connection was lost"
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Message + " (SQLSTATE " + e.Code + ")"
	}
	if isConnect(err) {
		return "the connection could not be made"
	}
	return err.Error()
}
