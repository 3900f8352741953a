package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/store"
	"adsync/internal/store/sqlite"
)

// ledgered is a platform of two accounts whose figures are arithmetic: pages of three rows, jobs that take two looks.
type ledgered struct {
	mu       sync.Mutex
	revision int                   // of the figures
	job      bool                  // reports are asked for first
	most     int                   // days that one report may have
	fail     func(step int) error  // before each step
	skew     func(d ads.Date) bool // days on which campaigns do not add up
	denied   string                // an account without permission
	waits    string                // an account that is told to wait for an hour
	unlisted error                 // keeps one account, the first, from being listed
	steps    int
	reads    map[string]int // slices begun, by level and days
}

const perDay = 4 // campaigns

func (p *ledgered) Spec() platform.Spec {
	return platform.Spec{
		Name: "ledgered", Accounts: true, Streams: []platform.Stream{{Name: ads.StreamCampaigns, PageRows: perDay, RecordName: "campaign"}},
		Reports: platform.Reports{
			Levels: []platform.Level{{Name: ads.LevelAccount, Days: 10}, {Name: ads.LevelCampaign, Days: 5}}, History: 400, Restated: 7,
			Reread: []platform.Reread{{Age: 2}, {Age: 7, Every: 24 * time.Hour}}, Tolerance: 0.005,
		},
	}
}
func (p *ledgered) Classify(platform.Reply) platform.Verdict { return platform.Verdict{} }

func (p *ledgered) Accounts(context.Context, platform.Caller) iter.Seq2[ads.Account, error] {
	return func(yield func(ads.Account, error) bool) {
		if p.unlisted != nil && !yield(ads.Account{ID: "a0", Status: ads.StatusUnknown}, p.unlisted) {
			return
		}
		for _, id := range []string{"a1", "a2"} {
			if !yield(ads.Account{ID: id, Name: "Account " + id, Status: ads.StatusActive, TimeZone: "Asia/Tokyo", Currency: "JPY"}, nil) {
				return
			}
		}
	}
}

func (p *ledgered) step(account string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps++
	if account == p.denied {
		return &ads.Error{Class: ads.ClassDenied, Code: "200", Message: "no permission"}
	}
	if account == p.waits {
		return &ads.Error{Class: ads.ClassDeferred, Message: "deferred", Bucket: "account " + account, Until: time.Now().Add(time.Hour)}
	}
	if p.fail != nil {
		return p.fail(p.steps)
	}
	return nil
}

func (p *ledgered) Step(_ context.Context, _ platform.Caller, t platform.Task, emit func(ads.Record) error) (platform.Next, error) {
	if err := p.step(t.Account.ID); err != nil {
		return platform.Next{}, err
	}
	for i := range perDay {
		if err := emit(ads.Record{Entity: ads.Entity{ID: fmt.Sprint("c", i), Name: "n", Status: ads.StatusActive, Raw: []byte("{}")}}); err != nil {
			return platform.Next{}, err
		}
	}
	return platform.Next{More: ads.Some(false)}, nil
}

// figure is the truth: campaign i has no row on every i-th day, and one more vanishes with each revision.
func (p *ledgered) figure(account string, d ads.Date, i int) (int64, bool) {
	n := d.Sub(ads.DateOf(time.Unix(0, 0).UTC())) + len(account)
	if (n+i)%5 == 0 || (n+i+p.revision)%7 == 3 {
		return 0, false
	}
	return int64(100_000 + n*10 + i + p.revision*1000), true
}

func (p *ledgered) rows(account, level string, from, to ads.Date) (out []ads.DailyMetrics) {
	for d := from; !to.Before(d); d = d.Add(1) {
		var sum int64
		for i := range perDay {
			n, ok := p.figure(account, d, i)
			if !ok {
				continue
			}
			sum += n
			if p.skew != nil && p.skew(d) {
				n /= 2
			}
			if level == ads.LevelCampaign {
				out = append(out, ads.DailyMetrics{EntityID: fmt.Sprint("c", i), Date: d, Impressions: ads.Some(n), Spend: ads.Some(ads.Micros(n * 1000)), Currency: "JPY", Raw: []byte(fmt.Sprintf(`{"n":%d}`, n))})
			}
		}
		if level == ads.LevelAccount && sum > 0 {
			out = append(out, ads.DailyMetrics{EntityID: account, Date: d, Impressions: ads.Some(sum), Spend: ads.Some(ads.Micros(sum * 1000)), Currency: "JPY"})
		}
	}
	return out
}

func (p *ledgered) Report(_ context.Context, _ platform.Caller, s platform.Slice, emit func(ads.DailyMetrics) error) (platform.Progress, error) {
	if err := p.step(s.Account.ID); err != nil {
		return platform.Progress{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Cursor == "" {
		p.reads[s.Level+" "+s.From.String()+".."+s.To.String()]++
	}
	if p.most > 0 && s.To.Sub(s.From)+1 > p.most {
		return platform.Progress{}, &ads.Error{Class: ads.ClassTooLarge, Code: "too_much", Message: "reduce the amount of data"}
	}
	at := 0
	switch {
	case p.job && s.Cursor == "":
		return platform.Progress{Cursor: "job 1", Wait: 10 * time.Second, Message: "asked for"}, nil
	case s.Cursor == "job 1":
		return platform.Progress{Cursor: "job 2", Wait: 20 * time.Second, Message: "50 % done"}, nil
	case s.Cursor == "job 2":
	case s.Cursor != "":
		_, _ = fmt.Sscanf(s.Cursor, "row %d", &at)
	}
	rows := p.rows(s.Account.ID, s.Level, s.From, s.To)
	for i := at; i < min(at+3, len(rows)); i++ {
		if err := emit(rows[i]); err != nil {
			return platform.Progress{}, err
		}
	}
	return platform.Progress{Cursor: fmt.Sprint("row ", at+3), Done: at+3 >= len(rows)}, nil
}

type noAPI struct{}

func (noAPI) Do(context.Context, platform.Request) (platform.Reply, error) {
	return platform.Reply{}, errors.New("nothing is sent")
}
func (noAPI) Stats() ads.Figures     { return ads.Figures{} }
func (noAPI) SetRun(string)          {}
func (noAPI) Watch(observe.Observer) {}

// books is a database and a run of it against p.
type books struct {
	t     testing.TB
	st    *sqlite.Store
	p     *ledgered
	since ads.Date
	seen  []observe.Data
	retry []store.Failure
}

var tokyo = time.FixedZone("JST", 9*3600)

func newBooks(t testing.TB) *books {
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "adsync.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &books{t: t, st: st, p: &ledgered{reads: map[string]int{}}, since: ads.DateOf(time.Now().In(tokyo)).Add(-19)}
}

func (b *books) run() engine.Summary {
	var mu sync.Mutex
	return engine.Run(b.t.Context(), engine.Options{
		Ref: ads.Ref{ClientID: "acme", Connection: "ledgered"}, Platform: b.p, API: noAPI{}, Store: b.st, Since: b.since, Retry: b.retry,
		Observer: observe.Func(func(e observe.Event) {
			mu.Lock()
			b.seen = append(b.seen, e.Data)
			mu.Unlock()
		}),
	})
}

// check holds the database against the truth for all days from first on.
func (b *books) check(t interface{ Fatalf(string, ...any) }, first ads.Date) {
	today := ads.DateOf(time.Now().In(tokyo))
	ref := ads.Ref{ClientID: "acme", Connection: "ledgered"}
	for _, account := range []string{"a1", "a2"} {
		for _, level := range []string{ads.LevelAccount, ads.LevelCampaign} {
			want := map[ads.Date]store.DayTotal{}
			for _, r := range b.p.rows(account, level, first, today) {
				w := want[r.Date]
				want[r.Date] = store.DayTotal{Date: r.Date, Impressions: w.Impressions + r.Impressions.Value, Spend: w.Spend + r.Spend.Value, Rows: w.Rows + 1}
			}
			got, err := b.st.DailyTotals(context.Background(), ref, account, level, first, today, time.Time{})
			if err != nil {
				t.Fatalf("%v", err)
			}
			if len(got) != len(want) {
				t.Fatalf("%s %s: %d days, want %d", account, level, len(got), len(want))
			}
			for _, g := range got {
				if g != want[g.Date] {
					t.Fatalf("%s %s: %+v, want %+v", account, level, g, want[g.Date])
				}
			}
			days, err := b.st.Coverage(context.Background(), ref, account, ads.StreamDaily(level), first, today)
			if err != nil || len(days) != today.Sub(first)+1 {
				t.Fatalf("%s %s: %d days covered, %v", account, level, len(days), err)
			}
			for _, d := range days {
				state := store.DayProvisional
				switch {
				case want[d.Date].Rows == 0:
					state = store.DayEmpty
				case ads.DateOf(d.VerifiedAt.In(tokyo)).Sub(d.Date) > 7:
					state = store.DayFinal
				}
				if d.State != state || d.Rows != want[d.Date].Rows {
					t.Fatalf("%s %s: %+v, want %s with %d rows", account, level, d, state, want[d.Date].Rows)
				}
			}
		}
	}
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		defer b.st.Close()
		b.p.job = true
		begin := time.Now()
		if s := b.run(); s.Outcome != ads.Complete || s.Figures.Listed != 2*perDay || s.Err != nil {
			t.Fatalf("%+v", s)
		}
		b.check(t, b.since)
		if took := time.Since(begin); took < 30*time.Second || took > 10*time.Minute {
			t.Errorf("reports were waited for %s", took)
		}
		for slice, n := range b.p.reads {
			if n != 2 { // once for each account
				t.Errorf("%s was read %d times", slice, n)
			}
		}

		// At once again: only what is read in each run, and what was restated there is taken on, a row that vanished too.
		b.p.reads = map[string]int{}
		b.p.revision = 1
		if s := b.run(); s.Outcome != ads.Complete {
			t.Fatalf("%+v", s)
		}
		today := ads.DateOf(time.Now().In(tokyo))
		if len(b.p.reads) != 2 || b.p.reads["campaign "+today.Add(-2).String()+".."+today.String()] != 2 {
			t.Errorf("read again: %v", b.p.reads)
		}
		b.p.revision = 0
		b.check2(t, today.Add(-3), 1)

		// A month later all of it is read for the last time, what is older than the platform restates not.
		time.Sleep(30 * 24 * time.Hour)
		b.p.revision = 2
		if s := b.run(); s.Outcome != ads.Complete {
			t.Fatalf("%+v", s)
		}
		b.check(t, b.since.Add(13))
		b.p.reads = map[string]int{}
		time.Sleep(30 * 24 * time.Hour)
		b.since = ads.DateOf(time.Now().In(tokyo)).Add(-40)
		if s := b.run(); s.Outcome != ads.Complete {
			t.Fatalf("%+v", s)
		}
		for slice := range b.p.reads {
			if strings.Contains(slice, today.Add(-1).String()) {
				t.Errorf("a final day was read: %s", slice)
			}
		}
	})
}

// check2 holds days after the given one against another revision.
func (b *books) check2(t *testing.T, after ads.Date, revision int) {
	b.p.revision = revision
	b.check(t, after.Add(1))
}

func TestReportsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		defer b.st.Close()
		b.p.most = 2
		if s := b.run(); s.Outcome != ads.Complete {
			t.Fatalf("%+v", s)
		}
		b.check(t, b.since)
	})
}

// What failed in an account is tried again alone, with all that it takes, and no other account is read for it.
func TestReportsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		defer b.st.Close()
		b.p.denied = "a1"
		if s := b.run(); s.Outcome != ads.Partial {
			t.Fatalf("%+v", s)
		}
		open := func() (out []store.Failure) {
			for f, err := range b.st.Failures(t.Context(), store.FailureFilter{}) {
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, f)
			}
			return out
		}
		b.retry = open()
		if s := b.run(); s.Outcome != ads.Partial || len(open()) != 1 || open()[0].Attempts <= b.retry[0].Attempts-1 || open()[0].Class != ads.ClassDenied {
			t.Fatalf("still denied: %+v, %+v", s, open())
		}
		b.p.denied, b.p.reads = "", map[string]int{}
		if s := b.run(); s.Outcome != ads.Complete || s.Err != nil || len(open()) != 0 {
			t.Fatalf("granted: %+v, %+v", s, open())
		}
		for slice, n := range b.p.reads {
			if n != 1 {
				t.Errorf("%s was read %d times, also for the account that was well", slice, n)
			}
		}
		b.retry = nil
		b.check(t, b.since)
	})
}

// An account that is told to wait keeps no other from being read; the run goes on with it later.
func TestReportsOneAccountWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		defer b.st.Close()
		b.p.waits = "a1"
		s := b.run()
		e, ok := s.Err.(*ads.Error)
		if !ok || s.Outcome == ads.Complete || e.Class != ads.ClassDeferred || !e.Until.Equal(time.Now().Add(time.Hour)) {
			t.Fatalf("%+v", s)
		}
		ref := ads.Ref{ClientID: "acme", Connection: "ledgered"}
		days, err := b.st.Coverage(t.Context(), ref, "a2", ads.StreamDaily(ads.LevelCampaign), b.since, b.since.Add(30))
		if err != nil || len(days) != 20 {
			t.Fatalf("the other account: %d days, %v", len(days), err)
		}
		b.p.waits, b.p.reads = "", map[string]int{}
		time.Sleep(time.Hour)
		again := b.run()
		if again.Outcome != ads.Complete || again.RunID != s.RunID {
			t.Fatalf("%+v", again)
		}
		for slice, n := range b.p.reads {
			if n != 1 {
				t.Errorf("%s was read %d times, also for the account that had not waited", slice, n)
			}
		}
		b.check(t, b.since)
	})
}

func TestReportsOneAccountDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		defer b.st.Close()
		b.p.denied = "a1"
		s := b.run()
		if s.Outcome != ads.Partial || s.Err == nil || !strings.Contains(s.Err.Error(), "account a1 (Account a1)") {
			t.Fatalf("%+v", s)
		}
		ref := ads.Ref{ClientID: "acme", Connection: "ledgered"}
		days, err := b.st.Coverage(t.Context(), ref, "a2", ads.StreamDaily(ads.LevelCampaign), b.since, b.since.Add(30))
		if err != nil || len(days) != 20 {
			t.Fatalf("the other account: %d days, %v", len(days), err)
		}
		open := func() (n int) {
			for _, err := range b.st.Failures(t.Context(), store.FailureFilter{}) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			return n
		}
		if open() != 1 {
			t.Errorf("%d failures", open())
		}
		b.p.denied = ""
		time.Sleep(time.Hour)
		if s := b.run(); s.Outcome != ads.Complete || open() != 0 {
			t.Errorf("with the right granted: %+v, %d failures", s, open())
		}
		b.check(t, b.since)
	})
}

// An account that cannot even be listed is kept as a failure until it is no longer named; the others are read.
func TestAccountNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		defer b.st.Close()
		failures := func() (out []string) {
			for f, err := range b.st.Failures(t.Context(), store.FailureFilter{}) {
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, f.Stream+" "+f.EntityID+" "+f.Code)
			}
			return out
		}
		b.p.unlisted = &ads.Error{Class: ads.ClassDenied, Code: "no_rights", Message: "no permission"}
		if s := b.run(); s.Outcome != ads.Partial || s.Err == nil || !strings.Contains(s.Err.Error(), "account a0: no permission") {
			t.Fatalf("%+v", s)
		}
		if got := failures(); len(got) != 1 || got[0] != "accounts a0 no_rights" {
			t.Errorf("failures: %q", got)
		}
		b.check(t, b.since)
		b.p.unlisted = &ads.Error{Class: ads.ClassAuth, Code: "revoked", Message: "log in again"}
		if s := b.run(); s.Outcome != ads.Failed || ads.ClassOf(s.Err) != ads.ClassAuth {
			t.Errorf("what meets all of them: %+v", s)
		}
		b.p.unlisted = nil
		time.Sleep(time.Hour)
		if s := b.run(); s.Outcome != ads.Complete || len(failures()) != 0 {
			t.Errorf("no longer named: %+v, failures %q", s, failures())
		}
	})
}

func TestReportsDisagree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooks(t)
		defer b.st.Close()
		bad := b.since.Add(17)
		b.p.skew = func(d ads.Date) bool { return d == bad }
		s := b.run()
		if s.Outcome != ads.Partial || !strings.Contains(fmt.Sprint(s.Err), bad.String()+": the campaigns add up to") {
			t.Fatalf("%+v", s)
		}
		ref := ads.Ref{ClientID: "acme", Connection: "ledgered"}
		days, err := b.st.Coverage(t.Context(), ref, "a1", ads.StreamDaily(ads.LevelCampaign), bad, bad)
		if err != nil || len(days) != 1 || days[0].State != store.DayPartial || !strings.Contains(days[0].Note, "impressions") {
			t.Fatalf("coverage %+v, %v", days, err)
		}
		for slice, n := range b.p.reads {
			if n > 4 {
				t.Errorf("%s was read %d times", slice, n)
			}
		}
		// It is read again until it agrees.
		b.p.skew = nil
		time.Sleep(time.Hour)
		if s := b.run(); s.Outcome != ads.Complete {
			t.Fatalf("%+v", s)
		}
		b.check(t, b.since)
	})
}

// A run that dies at any steps, any number of times, leaves the same as one that does not, and reads no slice from its beginning that it has finished.
func TestReportsResume(t *testing.T) {
	for seed := range uint64(16) { // each case is hundreds of transactions
		rnd := rand.New(rand.NewPCG(seed, 1))
		deaths := make([]int, 1+rnd.IntN(4))
		for i := range deaths {
			deaths[i] = 1 + rnd.IntN(25)
		}
		job := rnd.IntN(2) == 1
		var wrong complaint
		synctest.Test(t, func(t *testing.T) {
			b := newBooks(t)
			defer b.st.Close()
			b.p.job = job
			var s engine.Summary
			for _, n := range append(deaths, 1_000_000) {
				b.p.steps = 0
				b.p.fail = func(step int) error {
					if step >= n {
						return &ads.Error{Class: ads.ClassUnreachable, Code: "refused", Message: "gone"}
					}
					return nil
				}
				if s = b.run(); s.Outcome == ads.Complete {
					break
				}
			}
			if s.Outcome != ads.Complete || s.Figures.Listed != 2*perDay || s.Figures.Synced != 2*perDay {
				wrong.Fatalf("%+v", s)
				return
			}
			b.check(&wrong, b.since)
			begun := 0
			for _, n := range b.p.reads {
				begun += n
			}
			// Two accounts, at each level so many slices; a death costs at most the slice that each account was at.
			if due := 2 * (1 + 2 + 2 + 3); begun > due+2*len(deaths) {
				wrong.Fatalf("%d slices were begun, %d are due: %v", begun, due, b.p.reads)
			}
		})
		if wrong != "" {
			t.Fatalf("deaths %v, job %t: %s", deaths, job, wrong)
		}
	}
}

// complaint is the first thing that was found wrong.
type complaint string

func (c *complaint) Fatalf(format string, args ...any) {
	if *c == "" {
		*c = complaint(fmt.Sprintf(format, args...))
	}
}
