package report

import (
	"errors"
	"fmt"
	"time"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/store"
)

// Explanation is what a person needs to know about something that did not end well: what and why in one clause, and what to do or expect next.
type Explanation struct {
	Kind Kind
	Why  string
	Next string
}

// Explain puts the end of a run into words.
func Explain(s engine.Summary, now time.Time) Explanation {
	x := ExplainError(s.Err, now)
	if x.Kind.Name == "stopped" && s.RunID != "" {
		x.Why += fmt.Sprintf(" after page %d, with %d of %d synced", s.Figures.Pages, s.Figures.Synced, s.Figures.Listed)
	}
	if x.Kind != Partial {
		return x
	}
	x.Next = "The next sync reads the list again."
	if s.Figures.Failed > 0 {
		x.Next = fmt.Sprintf("See them with `adsync failures list --client %s`, try them alone with `adsync failures retry --client %s`.",
			shellWord(s.Ref.ClientID), shellWord(s.Ref.ClientID))
	}
	return x
}

// ExplainError puts an error into words.
func ExplainError(err error, now time.Time) Explanation {
	x := Explanation{Kind: KindOf(err)}
	if err == nil {
		return x
	}
	const again = "Run the same command again to resume."
	x.Why, x.Next = err.Error(), again
	if e, ok := errors.AsType[*engine.InternalError](err); ok {
		x.Next = fmt.Sprintf("This is a bug: please report it with the id %s and the log line that has it.", e.ID)
		return x
	}
	if e, ok := errors.AsType[*UnfitError](err); ok {
		x.Next = sentence(e.Hint)
		return x
	}
	if e, ok := errors.AsType[*store.Error](err); ok {
		if e.Hint != "" {
			x.Next = sentence(e.Hint)
		}
		return x
	}
	if _, ok := errors.AsType[*store.BusyError](err); ok {
		x.Next = "Let it finish, or queue up behind it with --wait."
		return x
	}
	if errors.Is(err, store.ErrFenced) {
		x.Next = "Nothing is lost: the other process goes on from the last commit."
		return x
	}
	if _, ok := errors.AsType[*engine.PartialError](err); ok {
		return x
	}
	if _, ok := errors.AsType[*engine.RemovalError](err); ok {
		x.Next = "Nothing was marked. If the platform is right, agree with --allow-removals."
		return x
	}
	if e, ok := errors.AsType[*ads.Error](err); ok {
		switch {
		case e.Class == ads.ClassDeferred && !e.Until.IsZero():
			x.Next = fmt.Sprintf("Its place is kept: run the same command again at or after %s, or allow a longer wait with --max-wait.", clock(e.Until, now))
		case e.Hint != "":
			x.Next = sentence(e.Hint)
			if x.Kind == Upstream {
				x.Next += " " + again
			}
		case x.Kind == Auth:
			x.Next = "Correct the credentials, then run the same command again; they are not tried again by themselves."
		case x.Kind == Internal:
			x.Next = "This is a bug: please report it."
		}
		return x
	}
	if x.Kind == Internal {
		x.Next = "This is a bug: please report it."
	}
	return x
}

// sentence gives a hint a capital and a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	if c := s[0]; c >= 'a' && c <= 'z' {
		s = string(c-'a'+'A') + s[1:]
	}
	switch s[len(s)-1] {
	case '.', '!', '?':
		return s
	}
	return s + "."
}

// shellWord quotes s for a shell where it needs that.
func shellWord(s string) string {
	plain := s != ""
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' || r == '/' || r == '@' || r == ':') {
			plain = false
		}
	}
	if plain {
		return s
	}
	q := "'"
	for _, r := range OneLine(s) {
		if r == '\'' {
			q += `'\''`
		} else {
			q += string(r)
		}
	}
	return q + "'"
}
