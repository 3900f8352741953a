package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/secret"
)

// Kind says what an error is about.
type Kind string

// Kinds. Those of the first group can pass by themselves, and concern all that the store keeps.
const (
	Throttled   Kind = "throttled"
	Unavailable Kind = "unavailable" // 5xx, sealed
	Unreachable Kind = "unreachable" // no answer at all

	Misconfigured Kind = "misconfigured" // how the store is reached
	LoginRefused  Kind = "login refused"
	Expired       Kind = "expired" // what it is asked with has ended

	BadReference Kind = "bad reference"
	Denied       Kind = "denied"
	NoSecret     Kind = "no such secret"
	NoKey        Kind = "no such key"
	BadAnswer    Kind = "bad answer"
)

// Error says why a secret could not be read, and what to do. It holds no secret: of what a store said only that which says nothing of what
// it was asked with, and never what it answered a good question with.
type Error struct {
	Kind    Kind
	Message string
	Hint    string
	Wait    time.Duration // what the store asked for before the next try; 0: nothing
	Status  int           // of HTTP; 0: none
}

func (e *Error) Error() string { return e.Message }

// Advice is what to do about it.
func (e *Error) Advice() string { return e.Hint }

// Passing reports whether the next try may go better by itself.
func (e *Error) Passing() bool {
	return e.Kind == Throttled || e.Kind == Unavailable || e.Kind == Unreachable
}

// StoreWide reports whether everything else that is asked of the store would fail in the same way.
func (e *Error) StoreWide() bool {
	return e.Passing() || e.Kind == Misconfigured || e.Kind == LoginRefused || e.Kind == Expired
}

// Malformed is the error of a reference that is not well written.
func Malformed(message, hint string) *Error {
	return &Error{Kind: BadReference, Message: message, Hint: hint}
}

// ErrTooBig is the error of a body that is larger than any secret.
var ErrTooBig = errors.New("the answer is larger than 4 MiB")

// Network makes an error of a request that got no answer. Nothing of err's text is used but what the system says of the connection: a
// client may put into it whatever it was about to send.
func Network(store string, err error, hint string) *Error {
	e := &Error{Kind: Unreachable, Hint: hint}
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, ErrTooBig):
		return &Error{Kind: BadAnswer, Message: store + ": " + ErrTooBig.Error(), Hint: hint}
	case IsTLS(err):
		return &Error{Kind: Misconfigured, Message: store + ": its certificate is not accepted: " + tlsReason(err), Hint: "give the authority that issued it, and the name that is in it"}
	case errors.Is(err, context.DeadlineExceeded):
		e.Message = store + " does not answer in time"
	case errors.Is(err, context.Canceled):
		e.Message = store + ": the request was given up"
	case errors.As(err, &dns):
		e.Message = store + ": its name cannot be looked up"
	case errors.As(err, &op) && op.Op == "proxyconnect":
		e.Message = store + ": the proxy does not let it through"
	case errors.As(err, &op):
		e.Message = store + " cannot be reached: " + lowest(op.Err)
	default:
		e.Message = store + " gave no answer that can be read"
	}
	return e
}

// Broken reports whether the connection was lost, or time ran out, in the middle of an answer.
func Broken(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &op)
}

// lowest is the system's own word, without addresses.
func lowest(err error) string {
	for err != nil {
		next := errors.Unwrap(err)
		if next == nil {
			return ads.Printable(err.Error(), 100)
		}
		err = next
	}
	return "no reason is given"
}

// Said is a store's own words, fit to be shown: in one line, cut short, and without the secrets that it was asked with.
func Said(text string, asked ...secret.Text) string {
	for _, s := range asked {
		if len(s.Reveal()) >= 4 {
			text = strings.ReplaceAll(text, s.Reveal(), "***")
		}
	}
	return ads.Printable(strings.Join(strings.Fields(text), " "), 300)
}

// Server makes an error of an answer that says that the store has trouble of its own, or too much to do.
func Server(store string, status int, said string, wait time.Duration) *Error {
	e := &Error{Kind: Unavailable, Status: status, Wait: wait, Hint: "wait, or ask those who run it"}
	what := "has trouble"
	if status == 429 {
		e.Kind, what = Throttled, "says that it is asked too often"
	}
	e.Message = fmt.Sprintf("%s %s (HTTP %d%s)", store, what, status, cmp.Or(after(": ", said), ""))
	return e
}

func after(sep, s string) string {
	if s == "" {
		return ""
	}
	return sep + s
}
