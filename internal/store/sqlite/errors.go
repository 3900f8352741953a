package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"adsync/internal/store"
)

// code is SQLite's extended result code, 0 where err is not SQLite's.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// aboutData says that a statement failed because of the values in it.
func aboutData(err error) bool {
	switch code(err) & 0xff {
	case lib.SQLITE_CONSTRAINT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH, lib.SQLITE_RANGE:
		return true
	}
	return false
}

func isBusy(err error) bool { return code(err)&0xff == lib.SQLITE_BUSY }

func isNoTransaction(err error) bool {
	return code(err)&0xff == lib.SQLITE_ERROR && strings.Contains(err.Error(), "no transaction is active")
}

// error says in words what is the matter. Errors of the contract and of contexts pass as they are.
func (p place) error(op string, err error) error {
	var se *store.Error
	var be *store.BusyError
	var cb *callbackError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &cb):
		return cb.err
	case errors.As(err, &se), errors.As(err, &be), errors.Is(err, store.ErrFenced), errors.Is(err, errStop), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	e := &store.Error{Kind: store.KindOther, Op: op, Err: err}
	dir := filepath.Dir(p.path)
	switch c := code(err); c & 0xff {
	case lib.SQLITE_NOTADB:
		e.Kind, e.Message = store.KindDamaged, fmt.Sprintf("%s is not a database", p.path)
		e.Hint = "name another file; this one is left as it is"
	case lib.SQLITE_CORRUPT:
		e.Kind, e.Message = store.KindDamaged, fmt.Sprintf("%s is damaged: %s", p.path, words(err))
		e.Hint = "restore it from a backup, or name another file and sync anew; this one is left as it is"
	case lib.SQLITE_FULL:
		e.Kind, e.Message, e.Hint = store.KindFull, fmt.Sprintf("the disk of %s is full", p.path), "make room and run again: it goes on where the last commit was"
	case lib.SQLITE_READONLY:
		e.Kind, e.Message = store.KindReadOnly, fmt.Sprintf("%s cannot be written: it or its directory is read-only", p.path)
		e.Hint = fmt.Sprintf("the user who runs adsync needs to write the file and its directory %s", dir)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		e.Kind, e.Message = store.KindLocked, fmt.Sprintf("%s has been locked by another process for too long", p.path)
		e.Hint = "end the other program, or wait until it has finished"
	case lib.SQLITE_PERM, lib.SQLITE_AUTH:
		e.Kind, e.Message, e.Hint = store.KindDenied, fmt.Sprintf("%s may not be used by this user", p.path), "check the file's owner and rights"
	case lib.SQLITE_CANTOPEN:
		e.Kind, e.Message = store.KindUnreachable, fmt.Sprintf("%s cannot be opened", p.path)
		e.Hint = fmt.Sprintf("check that the directory %s exists and that this user may read and write it", dir)
	case lib.SQLITE_IOERR:
		e.Message = fmt.Sprintf("reading or writing %s failed: %s", p.path, words(err))
		e.Hint = "check the disk: its space, its limits and its health"
		if errors.Is(err, syscall.ENOSPC) || c == lib.SQLITE_IOERR_WRITE || c == lib.SQLITE_IOERR_SHMSIZE {
			e.Kind, e.Message = store.KindFull, fmt.Sprintf("%s cannot grow: the disk is full, or a limit on file sizes is reached (%s)", p.path, words(err))
			e.Hint = "make room and run again: it goes on where the last commit was"
		}
	default:
		switch {
		case strings.Contains(err.Error(), "no such table"), strings.Contains(err.Error(), "no such column"):
			e.Kind, e.Message, e.Hint = store.KindSchema, fmt.Sprintf("%s has not the schema that this binary needs (%s)", p.path, words(err)), "run: adsync migrate"
		case errors.Is(err, fs.ErrPermission):
			e.Kind, e.Message, e.Hint = store.KindDenied, fmt.Sprintf("%s: permission denied", p.path), "check the owner and the rights of the file and its directory"
		case errors.Is(err, syscall.EROFS):
			e.Kind, e.Message, e.Hint = store.KindReadOnly, fmt.Sprintf("%s is on a read-only file system", p.path), "name a file on another disk"
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			e.Kind, e.Message, e.Hint = store.KindFull, fmt.Sprintf("the disk of %s is full", p.path), "make room and run again"
		default:
			e.Message = fmt.Sprintf("%s: %s", p.path, words(err))
		}
	}
	return e
}

// words is SQLite's message without the driver's decoration.
func words(err error) string {
	s := err.Error()
	if c := code(err); c != 0 {
		s = strings.TrimSuffix(s, fmt.Sprintf(" (%d)", c))
	}
	return s
}

// callbackError carries a caller's own error through a transaction unchanged.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }
func (e *callbackError) Unwrap() error { return e.err }
