package report

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	"adsync/internal/ads"
	"adsync/internal/engine"
)

// Seconds is a duration that JSON shows in seconds, always with decimals.
type Seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	b := strconv.AppendFloat(nil, seconds(time.Duration(s)), 'f', -1, 64)
	if !bytes.ContainsRune(b, '.') {
		b = append(b, ".0"...)
	}
	return b, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return err
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// Summary is the contract's document about a sync.
type Summary struct {
	Outcome     ads.Outcome         `json:"outcome"`
	Duration    Seconds             `json:"duration_seconds"`
	Connections []ConnectionSummary `json:"connections"`
}

// ConnectionSummary is one connection's part of it.
type ConnectionSummary struct {
	Client     string      `json:"client"`
	Connection string      `json:"connection"`
	Platform   string      `json:"platform"`
	Outcome    ads.Outcome `json:"outcome"`
	RunID      string      `json:"run_id"`
	Listed     int64       `json:"listed"`
	Synced     int64       `json:"synced"`
	Unchanged  int64       `json:"unchanged"`
	Failed     int64       `json:"failed"`
	Removed    int64       `json:"removed"`
	Pages      int64       `json:"pages"`
	Requests   int64       `json:"requests"`
	Throttled  int64       `json:"throttled"`
	Retries    int64       `json:"retries"`
	Waited     Seconds     `json:"waited_seconds"`
	Duration   Seconds     `json:"duration_seconds"`
	Error      *string     `json:"error"`

	why Explanation
}

// NewSummary puts the ends of runs together. took is the time of the whole. A connection for which no run could be opened counts as failed.
func NewSummary(sums []engine.Summary, took time.Duration, now time.Time, red *Redactor) Summary {
	doc := Summary{Duration: Seconds(took), Connections: make([]ConnectionSummary, 0, len(sums))}
	for _, s := range sums {
		f := s.Figures
		c := ConnectionSummary{
			Client: s.Ref.ClientID, Connection: s.Ref.Connection, Platform: s.Platform, Outcome: s.Outcome, RunID: s.RunID,
			Listed: f.Listed, Synced: f.Synced, Unchanged: f.Unchanged, Failed: f.Failed, Removed: f.Removed, Pages: f.Pages,
			Requests: f.Requests, Throttled: f.Throttled, Retries: f.Retries, Waited: Seconds(f.Waited), Duration: Seconds(s.Duration),
			why: Explain(s, now),
		}
		if c.Outcome == "" {
			c.Outcome = ads.Failed
			if c.why.Kind.Name == "stopped" {
				c.Outcome = ads.Interrupted
			}
		}
		if s.Err != nil {
			c.why.Why, c.why.Next = red.String(c.why.Why), red.String(c.why.Next)
			msg := OneLine(c.why.Why)
			c.Error = &msg
		}
		doc.Connections = append(doc.Connections, c)
	}
	doc.Outcome = together(doc.Connections)
	return doc
}

// together is the outcome of the whole: what all agree on, interrupted where any was stopped by a signal, else partial.
func together(cs []ConnectionSummary) ads.Outcome {
	if len(cs) == 0 {
		return ads.Failed
	}
	out := cs[0].Outcome
	for _, c := range cs {
		if c.why.Kind.Name == "stopped" {
			return ads.Interrupted
		}
		if c.Outcome != out {
			out = ads.Partial
		}
	}
	return out
}

// Bounds of what the summary shows: with more connections than rowsShown those that are complete share one row, and of the others no
// more than badShown have a row and a sentence of their own.
const (
	rowsShown = 25
	badShown  = 50
)

// Write writes the summary for people.
func (s Summary) Write(w io.Writer) error {
	t := table{head: []string{
		"client", "outcome", ">listed", ">synced", ">(unchanged)", ">failed", ">removed", ">pages", ">requests", ">throttled", ">retries", ">waited", ">took",
	}}
	names := s.names()
	row := func(name, outcome string, c ConnectionSummary, took string) {
		t.add(name, outcome, count(c.Listed), count(c.Synced), "("+count(c.Unchanged)+")", count(c.Failed), count(c.Removed), count(c.Pages),
			count(c.Requests), count(c.Throttled), count(c.Retries), span(time.Duration(c.Waited)), took)
	}
	var all, complete, rest ConnectionSummary
	completes, bad := 0, 0
	for i, c := range s.Connections {
		all.add(c)
		if c.Outcome != ads.Complete {
			bad++
		}
		switch {
		case len(s.Connections) > rowsShown && c.Outcome == ads.Complete:
			complete.add(c)
			completes++
		case bad > badShown:
			rest.add(c)
		default:
			row(names[i], string(c.Outcome), c, span(time.Duration(c.Duration)))
		}
	}
	if bad > badShown {
		row(count(int64(bad-badShown))+" more", "not complete", rest, "")
	}
	if completes > 0 {
		row(some(int64(completes), "connection"), string(ads.Complete), complete, "")
	}
	if len(s.Connections) > 1 {
		row("total", string(s.Outcome), all, span(time.Duration(s.Duration)))
	}
	if err := t.write(w); err != nil {
		return err
	}
	said := 0
	for i, c := range s.Connections {
		if c.Outcome == ads.Complete {
			continue
		}
		if said++; said > badShown {
			_, err := fmt.Fprintf(w, "\nand %d more; `adsync status` has them all.\n", bad-badShown)
			return err
		}
		if _, err := fmt.Fprintf(w, "\n%s: %s: %s %s\n", OneLine(names[i]), c.why.Kind.Name, OneLine(sentence(c.why.Why)), OneLine(c.why.Next)); err != nil {
			return err
		}
	}
	return nil
}

func (c *ConnectionSummary) add(o ConnectionSummary) {
	c.Listed += o.Listed
	c.Synced += o.Synced
	c.Unchanged += o.Unchanged
	c.Failed += o.Failed
	c.Removed += o.Removed
	c.Pages += o.Pages
	c.Requests += o.Requests
	c.Throttled += o.Throttled
	c.Retries += o.Retries
	c.Waited += o.Waited
}

func (s Summary) names() []string {
	refs := make([]ads.Ref, len(s.Connections))
	for i, c := range s.Connections {
		refs[i] = ads.Ref{ClientID: c.Client, Connection: c.Connection}
	}
	return shortNames(refs)
}

// shortNames are the client's ids, with the connection's name where a client has several.
func shortNames(refs []ads.Ref) []string {
	n := map[string]int{}
	for _, r := range refs {
		n[r.ClientID]++
	}
	names := make([]string, len(refs))
	for i, r := range refs {
		names[i] = r.ClientID
		if n[r.ClientID] > 1 {
			names[i] = r.String()
		}
	}
	return names
}
