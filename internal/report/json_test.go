package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// raw is the first character of a text that a terminal may obey, or that is none.
func raw(text string) (bad string, found bool) {
	for i, r := range text {
		if r == '\n' {
			continue
		}
		if _, n := utf8.DecodeRuneInString(text[i:]); !unicode.IsPrint(r) || r == utf8.RuneError && n == 1 {
			return text[max(0, i-20):min(len(text), i+20)], true
		}
	}
	return "", false
}

// nasty is text from outside.
var nasty = rapid.OneOf(
	rapid.String(),
	rapid.StringOf(rapid.RuneFrom([]rune("a\n\r\t\x00\x07\x1b[]\x7f\u0085\u009b\u00ad\u200b\u200f\u202e\u2028\u2066\ufeff\U000e0001é中😀"))),
	rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) }),
	rapid.Just("\x1b]0;title\x07\x1b[31mred\x1b[0m\u009b31m\nlevel=ERROR msg=fake"),
)

// What comes from outside reaches no output raw, by any way that this package prints: tables, sentences, log lines of both kinds, JSON.
func TestNothingRawIsPrinted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(what string) string { return nasty.Draw(t, what) }
		ref := ads.Ref{ClientID: n("client"), Connection: n("connection")}
		fault := &ads.Error{Class: ads.ClassDenied, Code: n("code"), Message: n("message"), Hint: n("hint"), RequestID: n("request id")}
		sums := []engine.Summary{{Ref: ref, Platform: "adplatform", Outcome: ads.Failed, Phase: n("phase"), Err: fault, RunID: "run"}}
		run := &store.RunRecord{ID: "r", StartedAt: noon, FinishedAt: noon, Outcome: ads.Failed, Error: n("error")}
		known := []store.ConnectionStatus{
			{Ref: ref, Last: run}, {Ref: ref, Running: true, Holder: n("holder"), Since: noon}, {Ref: ref, Wait: store.Wait{Reason: n("reason"), Until: noon.Add(time.Hour)}},
		}
		status := NewStatus(n("database"), known, nil, noon).Serving([]store.Worker{{ID: "w", Name: n("worker"), Alive: true}}, func(ads.Ref) (string, time.Time) { return "", time.Time{} })
		failures := NewFailures([]store.Failure{{ID: 1, Ref: ref, Account: n("account"), Stream: ads.StreamCampaigns, EntityID: n("entity"), Class: ads.ClassDenied, Code: fault.Code, Message: fault.Message, Hint: fault.Hint, RequestID: fault.RequestID}})
		summary := NewSummary(sums, time.Second, noon, NewRedactor())
		for name, write := range map[string]func(*bytes.Buffer) error{
			"summary":       func(b *bytes.Buffer) error { return summary.Write(b) },
			"status":        func(b *bytes.Buffer) error { return status.Write(b, noon) },
			"failures":      func(b *bytes.Buffer) error { return failures.Write(b, noon) },
			"table":         func(b *bytes.Buffer) error { return WriteTable(b, []string{"name"}, [][]string{{n("cell")}}) },
			"summary json":  func(b *bytes.Buffer) error { return WriteJSON(b, summary) },
			"status json":   func(b *bytes.Buffer) error { return WriteJSON(b, status) },
			"failures json": func(b *bytes.Buffer) error { return WriteJSON(b, failures) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			if bad, found := raw(b.String()); found {
				t.Errorf("%s: %q", name, bad)
			}
			if strings.HasSuffix(name, "json") && !json.Valid(b.Bytes()) {
				t.Errorf("%s is none: %s", name, b.String())
			}
		}
	})
}

// Events with names from outside in them make log lines, one each, and nothing raw.
func TestNothingRawIsLogged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(what string) string { return nasty.Draw(t, what) }
		events := []observe.Data{
			observe.WaitStarted{Reason: observe.WaitQuota, Bucket: n("bucket"), Used: 1, Limit: 2, Window: time.Minute, Until: noon, Note: n("note")},
			observe.WaitStarted{Reason: observe.WaitBusy, Note: n("holder")},
			observe.Attempt{Endpoint: "list campaigns", Try: 1, Status: 500, Class: ads.ClassTransient, Code: n("code"), Message: n("message"), RequestID: n("id")},
			observe.Retry{Endpoint: "list campaigns", Class: ads.ClassTransient, Code: n("code"), Message: n("message"), Delay: time.Second},
			observe.Circuit{Open: true, Host: n("host"), Message: n("message"), Since: noon},
			observe.RecordFailed{Account: n("account"), Stream: "campaigns", EntityID: n("entity"), Class: ads.ClassDenied, Code: n("code"), Message: n("message"), Hint: n("hint"), RequestID: n("id")},
			observe.Note{Level: observe.Warn, Code: "list_moved", Message: n("message"), Hint: n("hint")},
			observe.Parked{Kind: observe.ParkQuota, Reason: n("reason"), Until: noon},
			observe.RunFinished{Outcome: ads.Failed, Err: errors.New(n("error"))},
		}
		for _, o := range []ConsoleOptions{{Format: FormatText}, {Format: FormatJSON}, {Format: FormatText, Size: func() (int, int) { return 80, 24 }}} {
			out := &syncBuffer{}
			o.Out, o.Level, o.Red = out, slog.LevelDebug, NewRedactor()
			c := NewConsole(o)
			for _, d := range events {
				c.Observe(observe.Event{At: noon, Ref: ads.Ref{ClientID: n("client"), Connection: n("connection")}, Platform: "adplatform", RunID: "run", Data: d})
			}
			c.Close()
			got := out.String()
			if bad, found := raw(got); found {
				t.Errorf("%s: %q", o.Format, bad)
			}
			if lines := strings.Count(got, "\n"); lines > len(events) {
				t.Errorf("%s: %d lines of %d events:\n%s", o.Format, lines, len(events), got)
			}
		}
	})
}

// escapes are those of ours: up so many lines, clear what is below, colours.
var escapes = regexp.MustCompile(`\x1b\[\d+A\r\x1b\[J|\x1b\[[0-9;]*m`)

// The live display is made of escapes of ours, and of nothing else that a terminal obeys.
func TestNothingRawIsDisplayed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ref := ads.Ref{ClientID: nasty.Draw(rt, "client"), Connection: nasty.Draw(rt, "connection")}
		bucket, host := nasty.Draw(rt, "bucket"), nasty.Draw(rt, "host")
		synctest.Test(t, func(t *testing.T) {
			out := &syncBuffer{}
			c := NewConsole(ConsoleOptions{Out: out, Format: FormatText, Level: slog.LevelWarn, Red: NewRedactor(), Size: func() (int, int) { return 80, 24 }, Live: true, Color: true})
			c.Begin([]ads.Ref{ref})
			for _, d := range []observe.Data{
				observe.RunStarted{Trigger: "manual"},
				observe.PageListed{Stream: "campaigns", Page: 1, Rows: 10, New: 10, Listed: 10, Total: ads.Some(int64(100)), More: true},
				observe.WaitStarted{Reason: observe.WaitQuota, Bucket: bucket, Used: 10, Limit: 10, Window: time.Minute, Until: time.Now().Add(time.Minute)},
				observe.WaitStarted{Reason: observe.WaitCircuit, Note: host},
			} {
				c.Observe(observe.Event{At: time.Now(), Ref: ref, Platform: "adplatform", RunID: "run", Data: d})
				time.Sleep(time.Second)
			}
			c.End()
			c.Close()
			got := out.String()
			for _, ours := range escapes.FindAllString(got, -1) {
				got = strings.Replace(got, ours, "", 1)
			}
			if bad, found := raw(strings.ReplaceAll(got, "\r", "")); found {
				t.Errorf("%q", bad)
			}
		})
	})
}
