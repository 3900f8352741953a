package report

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// Failures is the document of `failures list --json`.
type Failures struct {
	Failures []Failure `json:"failures"`
}

// Failure is a row of failures.
type Failure struct {
	ID            int64     `json:"id"`
	Client        string    `json:"client"`
	Connection    string    `json:"connection"`
	Account       string    `json:"account"`
	Stream        string    `json:"stream"`
	EntityID      string    `json:"entity_id"`
	Class         ads.Class `json:"class"`
	Code          string    `json:"code"`
	Message       string    `json:"message"`
	Hint          *string   `json:"hint"`
	RequestID     *string   `json:"request_id"`
	Attempts      int64     `json:"attempts"`
	FirstFailedAt *string   `json:"first_failed_at"`
	LastFailedAt  *string   `json:"last_failed_at"`
	NextRetryAt   *string   `json:"next_retry_at"`
	ResolvedAt    *string   `json:"resolved_at"`

	last, next time.Time
}

// NewFailures makes the document.
func NewFailures(fs []store.Failure) Failures {
	doc := Failures{Failures: make([]Failure, 0, len(fs))}
	for _, f := range fs {
		doc.Failures = append(doc.Failures, Failure{
			ID: f.ID, Client: f.Ref.ClientID, Connection: f.Ref.Connection, Account: f.Account, Stream: f.Stream, EntityID: f.EntityID,
			Class: f.Class, Code: f.Code, Message: f.Message, Hint: text(f.Hint), RequestID: text(f.RequestID), Attempts: f.Attempts,
			FirstFailedAt: stamp(f.FirstFailedAt), LastFailedAt: stamp(f.LastFailedAt), NextRetryAt: stamp(f.NextRetryAt), ResolvedAt: stamp(f.ResolvedAt),
			last: f.LastFailedAt, next: f.NextRetryAt,
		})
	}
	return doc
}

// givenUp says that a call of this record's own has failed so often that it is no longer made by itself.
func (f *Failure) givenUp() bool {
	return f.ResolvedAt == nil && f.NextRetryAt == nil && f.Class != ads.ClassBadRecord
}

// nextTry is when it is tried again by itself. A record that could not be used is read again whenever it is listed.
func (f *Failure) nextTry(now time.Time) string {
	switch {
	case f.ResolvedAt != nil:
		return "resolved"
	case f.givenUp():
		return "not by itself"
	case f.NextRetryAt == nil:
		return "when listed"
	case !f.next.After(now):
		return "due"
	}
	return ago(f.next, now)
}

// Write writes the failures for people.
func (d Failures) Write(w io.Writer, now time.Time) error {
	if len(d.Failures) == 0 {
		_, err := io.WriteString(w, "No failures.\n")
		return err
	}
	t := table{head: []string{">id", "client", "connection", "record", "class", ">tries", "last failed", "next try", "what", "hint"}}
	for _, f := range d.Failures {
		hint := ""
		if f.Hint != nil {
			hint = *f.Hint
		}
		t.add(strconv.FormatInt(f.ID, 10), f.Client, f.Connection, singular(f.Stream)+" "+fit(OneLine(f.EntityID), 60), string(f.Class),
			strconv.FormatInt(f.Attempts, 10), ago(f.last, now), f.nextTry(now), fit(OneLine(f.Message), 100), fit(OneLine(hint), 80))
	}
	if err := t.write(w); err != nil {
		return err
	}
	givenUp := int64(0)
	for i := range d.Failures {
		if d.Failures[i].givenUp() {
			givenUp++
		}
	}
	if _, err := fmt.Fprintf(w, "\n%s. Try them again alone with `adsync failures retry`; forget them with `adsync failures drop`.\n", some(int64(len(d.Failures)), "failure")); err != nil {
		return err
	}
	text := count(givenUp) + " of them are no longer tried by themselves; `adsync failures retry` tries them.\n"
	switch givenUp {
	case 0:
		return nil
	case 1:
		text = "1 of them is no longer tried by itself; `adsync failures retry` tries it.\n"
	}
	_, err := io.WriteString(w, text)
	return err
}
