package ads

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Class says how far an error reaches and what remedies it.
type Class string

// The classes.
const (
	ClassOK          Class = ""             // no error
	ClassThrottled   Class = "throttled"    // refused for quota: wait, spend no try
	ClassTransient   Class = "transient"    // may pass: try again, a bounded number of times
	ClassAuth        Class = "auth"         // the credentials are refused: stop all that share them, never try again by itself
	ClassTokenDead   Class = "token_dead"   // the token is refused: renew it once and repeat
	ClassDenied      Class = "denied"       // the credentials are good but have no right to this: do not repeat
	ClassPermanent   Class = "permanent"    // asking again gives the same answer
	ClassTooLarge    Class = "too_large"    // ask for less at a time
	ClassStaleCursor Class = "stale_cursor" // start the listing again
	ClassBadReply    Class = "bad_reply"    // an answer that makes no sense: try again like transient
	ClassBadRecord   Class = "bad_record"   // one record is unusable
	ClassUnreachable Class = "unreachable"  // no connection: refused, DNS, TLS, proxy
	ClassDeferred    Class = "deferred"     // a wait longer than the caller is ready to wait in place; Until says when
	ClassInternal    Class = "internal"     // a bug
)

// Error is an error of talking to a platform. Every text in it is safe to print: no secret, no control character.
type Error struct {
	Class     Class
	Code      string        // the platform's code or a short word of ours ("http_503", "not_json", "redirect")
	Message   string        // what happened, for a person
	Hint      string        // what to do about it; may be empty
	Endpoint  string        // the request's label, never its URL
	Status    int           // HTTP status, 0 where there was no answer
	RequestID string        // the id that the platform gave for its support
	Attempts  int           // tries spent
	Until     time.Time     // ClassDeferred: when it is worth asking again
	Told      time.Duration // ClassDeferred: the wait that the server asked for, before any cap
	Bucket    string        // ClassDeferred, ClassThrottled: whose quota, in words
	Err       error         // cause; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Endpoint != "" {
		b.WriteString(e.Endpoint)
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (after %d tries)", e.Attempts)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " [request id %s]", e.RequestID)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// ClassOf is the class of err: ClassOK for nil, ClassInternal for an error that is not, and does not wrap, an *Error.
func ClassOf(err error) Class {
	if err == nil {
		return ClassOK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ClassInternal
}
