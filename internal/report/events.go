package report

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// logEvent writes an event as one line, at the level that it deserves: milestones are info, what happens for every request is debug.
func (c *Console) logEvent(e observe.Event, t *tracker) {
	level, ok := levelOf(e.Data)
	if _, end := e.Data.(observe.RunFinished); end && t != nil && c.o.Live && c.o.Size != nil {
		level = slog.LevelInfo // the display has shown it, and the summary says it again
	}
	if !ok || !c.log.Enabled(context.Background(), level) {
		return
	}
	msg, attrs := c.words(e, t)
	attrs = append([]slog.Attr{slog.String("client", e.Ref.ClientID), slog.String("connection", e.Ref.Connection), slog.String("run_id", e.RunID)}, attrs...)
	c.log.LogAttrs(context.Background(), level, msg, attrs...)
}

// levelOf is the level of a kind of event; false for those that only the display needs.
func levelOf(d observe.Data) (slog.Level, bool) {
	switch d := d.(type) {
	case observe.RunStarted, observe.PageListed, observe.SliceRead, observe.WaitStarted, observe.Retry:
		return slog.LevelInfo, true
	case observe.WaitEnded, observe.Attempt, observe.TokenRenewed, observe.Progress:
		return slog.LevelDebug, true
	case observe.Circuit:
		if d.Open {
			return slog.LevelWarn, true
		}
		return slog.LevelInfo, true
	case observe.RecordFailed:
		return slog.LevelWarn, true
	case observe.TokenEnds:
		if d.Days > 0 {
			return slog.LevelWarn, true
		}
		return slog.LevelDebug, true
	case observe.Parked:
		if d.Kind == observe.ParkAuth {
			return slog.LevelWarn, true
		}
		return slog.LevelInfo, true
	case observe.Note:
		switch d.Level {
		case observe.Debug:
			return slog.LevelDebug, true
		case observe.Warn:
			return slog.LevelWarn, true
		}
		return slog.LevelInfo, true
	case observe.RunFinished:
		switch d.Outcome {
		case ads.Complete:
			return slog.LevelInfo, true
		case ads.Failed:
			return slog.LevelError, true
		}
		return slog.LevelWarn, true
	}
	return 0, false
}

// words are an event's message and what a machine wants of it apart.
func (c *Console) words(e observe.Event, t *tracker) (string, []slog.Attr) {
	now := time.Now()
	switch d := e.Data.(type) {
	case observe.RunStarted:
		if d.Resumed {
			return fmt.Sprintf("sync goes on where it was stopped: %d listed, %d synced", d.Before.Listed, d.Before.Synced),
				[]slog.Attr{slog.String("trigger", d.Trigger), slog.Bool("resumed", true)}
		}
		return "sync started", []slog.Attr{slog.String("trigger", d.Trigger)}
	case observe.PageListed:
		msg := fmt.Sprintf("page %d: %d listed", d.Page, d.Listed)
		attrs := []slog.Attr{slog.String("stream", d.Stream), slog.Int("page", d.Page), slog.Int64("listed", d.Listed)}
		if d.Total.Set {
			msg = fmt.Sprintf("page %d: %d of %d listed", d.Page, d.Listed, d.Total.Value)
			attrs = append(attrs, slog.Int64("total", d.Total.Value))
		}
		if d.Pass > 1 {
			msg += fmt.Sprintf(" (pass %d)", d.Pass)
			attrs = append(attrs, slog.Int("pass", d.Pass))
		}
		return msg, attrs
	case observe.SliceRead:
		msg := fmt.Sprintf("%s of account %s, %s to %s: %d rows in %s", d.Stream, ads.Printable(d.Account, 80), d.From, d.To, d.Rows, span(d.Took))
		attrs := []slog.Attr{
			slog.String("account", ads.Printable(d.Account, 80)), slog.String("stream", d.Stream), slog.String("from", d.From), slog.String("to", d.To), slog.Int64("rows", d.Rows),
		}
		if d.Partial > 0 {
			msg += fmt.Sprintf("; %d days do not add up", d.Partial)
			attrs = append(attrs, slog.Int("days_that_differ", d.Partial))
		}
		return msg, attrs
	case observe.Progress:
		return fmt.Sprintf("%d synced, %d failed, %d to go", d.Figures.Synced, d.Figures.Failed, d.Pending), nil
	case observe.WaitStarted:
		msg := waitText(d, now, "")
		attrs := []slog.Attr{slog.String("reason", string(d.Reason))}
		if t != nil {
			done, of := t.counts(e.Ref)
			msg += fmt.Sprintf(" (%d of %d through)", done, of)
		}
		if !d.Until.IsZero() {
			attrs = append(attrs, slog.Float64("wait_seconds", seconds(d.Until.Sub(now))), slog.Time("until", d.Until.UTC()))
		}
		if d.Limit > 0 {
			attrs = append(attrs, slog.Int("used", d.Used), slog.Int("limit", d.Limit))
		}
		return msg, attrs
	case observe.WaitEnded:
		return fmt.Sprintf("waited %s (%s)", span(d.Waited), d.Reason),
			[]slog.Attr{slog.String("reason", string(d.Reason)), slog.Float64("waited_seconds", seconds(d.Waited))}
	case observe.Attempt:
		return attemptWords(d)
	case observe.Retry:
		return fmt.Sprintf("%s: %s (try %d), again in %s", d.Endpoint, d.Message, d.Try, span(d.Delay)),
			[]slog.Attr{slog.String("code", d.Code), slog.Int("try", d.Try), slog.Float64("delay_seconds", seconds(d.Delay))}
	case observe.TokenRenewed:
		return "token renewed", []slog.Attr{slog.String("reason", d.Reason), slog.Float64("life_seconds", seconds(d.Life))}
	case observe.TokenEnds:
		if d.At.IsZero() {
			return "the token is renewed by itself, no end of that is known", nil
		}
		return TokenEnds(d.At, d.Why, now), hinted([]slog.Attr{slog.Time("ends_at", d.At.UTC()), slog.Int("days", d.Days)}, tokenCure)
	case observe.Circuit:
		if d.Open {
			return fmt.Sprintf("%s does not answer: only probes are sent until it does: %s", d.Host, d.Message), []slog.Attr{slog.String("host", d.Host)}
		}
		return fmt.Sprintf("%s answers again after %s", d.Host, span(e.At.Sub(d.Since))), []slog.Attr{slog.String("host", d.Host)}
	case observe.RecordFailed:
		msg := fmt.Sprintf("%s %s failed: %s", singular(d.Stream), ads.Printable(d.EntityID, 200), d.Message)
		attrs := []slog.Attr{
			slog.String("account", d.Account), slog.String("stream", d.Stream), slog.String("id", ads.Printable(d.EntityID, 200)),
			slog.String("class", string(d.Class)), slog.String("code", d.Code), slog.Int("attempts", d.Attempts),
		}
		if d.RequestID != "" {
			attrs = append(attrs, slog.String("request_id", d.RequestID))
		}
		return msg, hinted(attrs, d.Hint)
	case observe.Note:
		return d.Message, hinted([]slog.Attr{slog.String("code", d.Code)}, d.Hint)
	case observe.Parked:
		return fmt.Sprintf("parked until %s (%s): %s", clock(d.Until, now), wait(d.Until.Sub(now)), d.Reason),
			[]slog.Attr{slog.String("parked_for", string(d.Kind)), slog.Time("until", d.Until.UTC())}
	case observe.RunFinished:
		return finishedWords(d, now)
	}
	return fmt.Sprintf("%T", e.Data), nil
}

func attemptWords(d observe.Attempt) (string, []slog.Attr) {
	msg := d.Endpoint + ": "
	switch {
	case d.Status > 0:
		msg += fmt.Sprintf("%d in %s", d.Status, span(d.Duration))
	case !d.Sent:
		msg += fmt.Sprintf("not sent after %s", span(d.Duration))
	default:
		msg += fmt.Sprintf("no answer after %s", span(d.Duration))
	}
	if d.Message != "" && d.Class != ads.ClassOK {
		msg += ": " + d.Message
	}
	attrs := []slog.Attr{slog.Int("try", d.Try), slog.Int("status", d.Status), slog.Float64("duration_seconds", seconds(d.Duration))}
	if d.Class != ads.ClassOK {
		attrs = append(attrs, slog.String("class", string(d.Class)), slog.String("code", d.Code))
	}
	if d.RequestID != "" {
		attrs = append(attrs, slog.String("request_id", d.RequestID))
	}
	return msg, attrs
}

func finishedWords(d observe.RunFinished, now time.Time) (string, []slog.Attr) {
	f := d.Figures
	msg := fmt.Sprintf("sync %s in %s: %d listed, %d synced (%d unchanged), %d failed, %d removed, %d requests, waited %s",
		d.Outcome, span(d.Duration), f.Listed, f.Synced, f.Unchanged, f.Failed, f.Removed, f.Requests, span(f.Waited))
	attrs := []slog.Attr{
		slog.String("outcome", string(d.Outcome)), slog.Int64("listed", f.Listed), slog.Int64("synced", f.Synced), slog.Int64("unchanged", f.Unchanged),
		slog.Int64("failed", f.Failed), slog.Int64("removed", f.Removed), slog.Int64("pages", f.Pages), slog.Int64("requests", f.Requests),
		slog.Int64("throttled", f.Throttled), slog.Int64("retries", f.Retries), slog.Float64("waited_seconds", seconds(f.Waited)),
		slog.Float64("duration_seconds", seconds(d.Duration)),
	}
	if d.Err != nil {
		x := ExplainError(d.Err, now)
		msg += ": " + x.Why
		attrs = append(attrs, slog.String("kind", x.Kind.Name))
	}
	return msg, attrs
}

func hinted(attrs []slog.Attr, hint string) []slog.Attr {
	if hint != "" {
		attrs = append(attrs, slog.String("hint", hint))
	}
	return attrs
}

func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

// singular is one record of a stream: "campaign".
func singular(stream string) string {
	if n := len(stream); n > 1 && stream[n-1] == 's' {
		return stream[:n-1]
	}
	return stream
}

func (t *tracker) counts(ref ads.Ref) (done, of int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of(ref).progress()
}
