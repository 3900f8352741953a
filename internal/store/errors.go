package store

import (
	"errors"
	"fmt"
	"time"

	"adsync/internal/ads"
)

// Kind says what is the matter with a database.
type Kind string

// The kinds. All of them end a command with exit code 6.
const (
	KindUnreachable  Kind = "unreachable"   // cannot connect, or the connection was lost for good
	KindDenied       Kind = "denied"        // wrong password, missing right
	KindFull         Kind = "full"          // no space left
	KindReadOnly     Kind = "read_only"     // file, directory, transaction or server
	KindSchema       Kind = "schema"        // older or newer than this binary
	KindForeignTable Kind = "foreign_table" // a table of ours exists that adsync did not make
	KindLocked       Kind = "locked"        // another process holds a lock for longer than we wait
	KindDamaged      Kind = "damaged"       // not a database, cut short
	KindOther        Kind = "other"
)

// Error is a failure of the database. Message and Hint are safe to print: they name host or path, never a password.
type Error struct {
	Kind    Kind
	Op      string // "open", "commit", "migrate", …
	Message string
	Hint    string
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("database: %s: %s", e.Op, e.Message) }

func (e *Error) Unwrap() error { return e.Err }

// ErrFenced says that somebody else took the connection over: stop at once, write nothing.
var ErrFenced = errors.New("another process has taken this connection over")

// BusyError says that a living process holds the connection.
type BusyError struct {
	Ref    ads.Ref
	Holder string // "pid 4711 on host"
	Since  time.Time
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%s is being synced by %s since %s", e.Ref, e.Holder, e.Since.UTC().Format(time.RFC3339))
}
