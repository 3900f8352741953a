package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // the days of accounts are those of their own zones, on machines without a zone database too

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/store"
)

// slice is one slice that is being read. It is stored with each commit, so that a report job outlives the process that asked for it.
type slice struct {
	span
	Cursor string    `json:"cursor,omitempty"`
	Since  time.Time `json:"since"` // rows of the slice that were written before are gone when it ends
	Shrink int       `json:"shrink,omitempty"`
	Stale  int       `json:"stale,omitempty"` // times that it was begun again
	Steps  int       `json:"steps,omitempty"`
	Rows   int64     `json:"rows,omitempty"`
}

// Bounds of a slice.
const (
	maxShrink = 6
	maxSteps  = 100_000
	maxPause  = 2 * time.Minute // between two looks at a report
)

// reports brings an account's daily figures up to date: at all levels what may still move, newest first, then what is older.
func (r *run) reports(ctx context.Context, rep platform.Reporter, acc ads.Account) error {
	zone, err := time.LoadLocation(acc.TimeZone)
	if err != nil || acc.TimeZone == "" {
		zone = time.UTC
	}
	now := time.Now()
	c := &calendar{today: ads.DateOf(now.In(zone)), now: now, since: r.o.Since, spec: r.spec.Reports, zone: zone, run: r.startedAt}
	if c.since.IsZero() {
		c.since = c.today.Add(1 - cmp.Or(r.o.Days, DefaultDays))
	}
	for _, recent := range []bool{true, false} {
		for _, level := range r.spec.Reports.Levels {
			if err := r.level(ctx, rep, acc, c, level, recent); err != nil {
				return err
			}
		}
	}
	return nil
}

// level reads the slices of one level that are due.
func (r *run) level(ctx context.Context, rep platform.Reporter, acc ads.Account, c *calendar, level platform.Level, recent bool) error {
	stream := ads.StreamDaily(level.Name)
	known, err := r.o.Store.Coverage(ctx, r.o.Ref, acc.ID, stream, c.first(), c.today)
	if err != nil {
		return err
	}
	todo := c.slices(known, max(1, level.Days), recent)
	if s := r.com.snapshot().Slices[listingKey(acc.ID, stream)]; s != nil && slices.ContainsFunc(todo, func(t span) bool { return !s.From.Before(t.From) && !t.To.Before(s.To) }) {
		// An earlier life was at this one: it goes on first, and what it leaves of its range comes after it.
		rest := make([]span, 0, len(todo)+2)
		rest = append(rest, s.span)
		for _, t := range todo {
			if t.To.Before(s.From) || s.To.Before(t.From) {
				rest = append(rest, t)
				continue
			}
			if s.To.Before(t.To) {
				rest = append(rest, span{s.To.Add(1), t.To})
			}
			if t.From.Before(s.From) {
				rest = append(rest, span{t.From, s.From.Add(-1)})
			}
		}
		todo = rest
	}
	failed := false
	for len(todo) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		next := todo[0]
		todo = todo[1:]
		err := r.slice(ctx, rep, acc, c, level, next)
		if ads.ClassOf(err) == ads.ClassTooLarge && next.days() > 1 {
			half := next.From.Add(next.days() / 2)
			r.note(observe.Note{Level: observe.Info, Code: "slice_cut", Message: fmt.Sprintf("%s of %s to %s is too much at once: it is cut in two", stream, next.From, next.To)})
			todo = slices.Insert(todo, 0, span{half, next.To}, span{next.From, half.Add(-1)})
			if err := r.dropSlice(acc, stream); err != nil {
				return err
			}
			continue
		}
		if err != nil && ctx.Err() == nil && sliceFailed(err) {
			failed = true
			what := fmt.Sprintf("%s of %s, %s to %s", stream, nameOf(acc), next.From, next.To)
			m := &store.Metrics{Level: level.Name, FinalBefore: c.finalBefore(), End: &store.SliceEnd{From: next.From, To: next.To, Since: r.startedAt, Failed: ads.Printable(err.Error(), 300)}}
			err = r.fault(stream, next.From.String()+".."+next.To.String(), acc, err, m, what+": "+err.Error())
		}
		if err != nil {
			return err
		}
	}
	if failed {
		return nil
	}
	return r.resolveSlices(ctx, acc, stream)
}

// sliceFailed says that an error is about this slice, and the others are worth trying.
func sliceFailed(err error) bool {
	switch ads.ClassOf(err) {
	case ads.ClassPermanent, ads.ClassTooLarge, ads.ClassBadReply, ads.ClassStaleCursor:
		return true
	}
	return false
}

// resolveSlices ends the open failures of an account's level: what was due has been read.
func (r *run) resolveSlices(ctx context.Context, acc ads.Account, stream string) error {
	var over []string
	for f, err := range r.o.Store.Failures(ctx, store.FailureFilter{ClientID: r.o.Ref.ClientID, Connection: r.o.Ref.Connection}) {
		if err != nil {
			return err
		}
		if f.Account == acc.ID && f.Stream == stream {
			over = append(over, f.EntityID)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return r.com.sendWait(op{account: acc.ID, stream: stream, resolved: over, alone: true})
}

func (r *run) dropSlice(acc ads.Account, stream string) error {
	key := listingKey(acc.ID, stream)
	return r.com.sendWait(op{account: acc.ID, stream: stream, alone: true, change: func(st *state) { delete(st.Slices, key) }})
}

// slice reads one slice to its end, from wherever the last life left it, and holds it against the account's own figures.
func (r *run) slice(ctx context.Context, rep platform.Reporter, acc ads.Account, c *calendar, level platform.Level, want span) error {
	begin := time.Now()
	held := level.Name == ads.LevelCampaign && r.hasLevel(ads.LevelAccount)
	s, rows, err := r.readSlice(ctx, rep, acc, c, level.Name, want, !held)
	if err != nil {
		return err
	}
	partial := map[ads.Date]string{}
	if held {
		if partial, err = r.reconcile(ctx, acc, want, s.Since); err != nil {
			return err
		}
		if len(partial) > 0 {
			// Figures that were restated between the two requests look like that: both are read once more.
			r.note(observe.Note{Level: observe.Warn, Code: "disagrees", Message: fmt.Sprintf("the campaigns of %s do not add up to the account's own figures on %s: both are read again", nameOf(acc), daysText(partial))})
			if err := r.again(ctx, rep, acc, c, want); err != nil {
				return err
			}
			if err := r.dropSlice(acc, ads.StreamDaily(level.Name)); err != nil {
				return err
			}
			if s, rows, err = r.readSlice(ctx, rep, acc, c, level.Name, want, false); err != nil {
				return err
			}
			if partial, err = r.reconcile(ctx, acc, want, s.Since); err != nil {
				return err
			}
		}
		if err := r.endSlice(acc, c, level.Name, want, s, partial); err != nil {
			return err
		}
	}
	r.emit(observe.SliceRead{Account: acc.ID, Stream: ads.StreamDaily(level.Name), From: want.From.String(), To: want.To.String(), Rows: rows, Partial: len(partial), Took: time.Since(begin)})
	return nil
}

// again reads the account's own figures of some days once more.
func (r *run) again(ctx context.Context, rep platform.Reporter, acc ads.Account, c *calendar, want span) error {
	_, _, err := r.readSlice(ctx, rep, acc, c, ads.LevelAccount, want, true)
	return err
}

func (r *run) hasLevel(name string) bool {
	return slices.ContainsFunc(r.spec.Reports.Levels, func(l platform.Level) bool { return l.Name == name })
}

// endSlice closes a slice: what was read replaces what was there.
func (r *run) endSlice(acc ads.Account, c *calendar, level string, want span, s slice, partial map[ads.Date]string) error {
	stream := ads.StreamDaily(level)
	key := listingKey(acc.ID, stream)
	return r.com.sendWait(op{
		account: acc.ID, stream: stream, alone: true,
		metrics: &store.Metrics{Level: level, FinalBefore: c.finalBefore(), End: &store.SliceEnd{From: want.From, To: want.To, Since: s.Since, Partial: partial}},
		change: func(st *state) {
			delete(st.Slices, key)
			for _, d := range sortedDays(partial) {
				st.wrong(fmt.Sprintf("%s on %s: %s", nameOf(acc), d, partial[d]))
			}
		},
	})
}

// readSlice does all steps of a slice. Its beginning is stored with its first step. With end it is closed together with its last one; otherwise it is left
// open: its rows are written, and what it no longer has is still there.
func (r *run) readSlice(ctx context.Context, rep platform.Reporter, acc ads.Account, c *calendar, level string, want span, end bool) (slice, int64, error) {
	stream := ads.StreamDaily(level)
	key := listingKey(acc.ID, stream)
	open := func(st *state, stale, shrink int) {
		st.LastStamp = st.LastStamp.Add(time.Microsecond) // later than all that was written before
		st.Slices[key] = &slice{span: want, Since: st.LastStamp, Stale: stale, Shrink: shrink}
	}
	begin := func(stale, shrink int) error {
		return r.com.sendWait(op{account: acc.ID, stream: stream, accounts: []ads.Account{acc}, alone: true, change: func(st *state) { open(st, stale, shrink) }})
	}
	for {
		s := slice{span: want}
		fresh := true
		if known := r.com.snapshot().Slices[key]; known != nil && known.span == want {
			s, fresh = *known, false
		}
		if s.Steps >= maxSteps {
			return s, s.Rows, &ads.Error{Class: ads.ClassBadReply, Code: "never_ends", Message: fmt.Sprintf("a report of %s did not end within %d steps", want.From, maxSteps)}
		}
		r.setPhase(fmt.Sprintf("reading %s of %s, %s to %s", stream, acc.ID, want.From, want.To))
		rows := make([]ads.DailyMetrics, 0, 256)
		index := map[rowKey]int{}
		var outside int
		p, err := rep.Report(ctx, r.o.API, platform.Slice{
			Account: acc, Level: level, From: want.From, To: want.To, RunID: r.id, Cursor: s.Cursor, Shrink: s.Shrink, Now: time.Now(),
		}, func(m ads.DailyMetrics) error {
			if m.Date.Before(want.From) || want.To.Before(m.Date) {
				outside++
				return nil
			}
			k := rowKey{m.EntityID, m.Date}
			if at, ok := index[k]; ok {
				rows[at] = m
				return nil
			}
			index[k] = len(rows)
			rows = append(rows, m)
			return nil
		})
		switch class := ads.ClassOf(err); {
		case class == ads.ClassStaleCursor && s.Stale < maxPasses:
			r.note(observe.Note{Level: observe.Warn, Code: "stale_cursor", Message: err.Error() + ": the slice starts again"})
			if err := begin(s.Stale+1, s.Shrink); err != nil {
				return s, 0, err
			}
			continue
		case class == ads.ClassTooLarge && want.days() == 1 && s.Shrink < maxShrink:
			if err := begin(s.Stale, s.Shrink+1); err != nil {
				return s, 0, err
			}
			continue
		case err != nil:
			return s, 0, err
		}
		if outside > 0 {
			r.note(observe.Note{Level: observe.Warn, Code: "outside", Message: fmt.Sprintf("%d rows of days that were not asked for are left out", outside)})
		}
		for _, f := range p.Findings {
			r.note(observe.Note{Level: observe.Warn, Code: f.Code, Message: f.Message, Hint: f.Hint})
		}
		if !p.Done && p.Wait <= 0 && p.Cursor == s.Cursor {
			return s, 0, &ads.Error{Class: ads.ClassBadReply, Code: "cursor_stuck", Message: "the platform names the page just read as the next one"}
		}
		n := int64(len(rows))
		o := op{account: acc.ID, stream: stream, alone: true}
		if fresh {
			o.accounts = []ads.Account{acc}
		}
		if n > 0 {
			o.metrics = &store.Metrics{Level: level, FinalBefore: c.finalBefore(), Rows: rows}
		}
		closing := p.Done && end
		if closing && o.metrics == nil {
			o.metrics = &store.Metrics{Level: level, FinalBefore: c.finalBefore()}
		}
		o.change = func(st *state) {
			if fresh {
				open(st, 0, 0)
			}
			l := st.Slices[key]
			l.Cursor = p.Cursor
			l.Steps++
			l.Rows += n
			s = *l
			if closing {
				o.metrics.End = &store.SliceEnd{From: want.From, To: want.To, Since: l.Since}
				delete(st.Slices, key)
			}
		}
		if err := r.com.sendWait(o); err != nil {
			return s, 0, err
		}
		if p.Done {
			return s, s.Rows, nil
		}
		if p.Wait > 0 {
			if err := r.pause(ctx, acc, min(p.Wait, maxPause), p.Message); err != nil {
				return s, 0, err
			}
		}
	}
}

type rowKey struct {
	id   string
	date ads.Date
}

// reconcile holds the campaigns' sums of a slice against the account's own figures, which come from another request, and says which days differ by more than
// the tolerance.
func (r *run) reconcile(ctx context.Context, acc ads.Account, want span, since time.Time) (map[ads.Date]string, error) {
	account, err := r.o.Store.DailyTotals(ctx, r.o.Ref, acc.ID, ads.LevelAccount, want.From, want.To, time.Time{})
	if err != nil {
		return nil, err
	}
	campaigns, err := r.o.Store.DailyTotals(ctx, r.o.Ref, acc.ID, ads.LevelCampaign, want.From, want.To, since)
	if err != nil {
		return nil, err
	}
	out := map[ads.Date]string{}
	for d, t := range disagreement(account, campaigns, r.spec.Reports.Tolerance) {
		out[d] = fmt.Sprintf("the campaigns add up to %d impressions, %d clicks, %s spent; the account itself has %d, %d, %s",
			t[1].Impressions, t[1].Clicks, money(t[1].Spend), t[0].Impressions, t[0].Clicks, money(t[0].Spend))
	}
	return out, nil
}

func money(m ads.Micros) string {
	return ads.Decimal{Coef: int64(m) / 10_000, Scale: 2}.String()
}

func sortedDays(m map[ads.Date]string) []ads.Date {
	out := make([]ads.Date, 0, len(m))
	for d := range m {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b ads.Date) int { return a.Sub(b) })
	return out
}

func daysText(m map[ads.Date]string) string {
	days := sortedDays(m)
	if len(days) == 1 {
		return days[0].String()
	}
	return fmt.Sprintf("%d days from %s to %s", len(days), days[0], days[len(days)-1])
}
