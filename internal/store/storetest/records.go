package storetest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// allColumns of campaigns but those that come from outside the record.
const allColumns = "id, name, status, platform_status, objective, budget_micros, budget_period, currency, impressions, clicks, conversions, created_at, platform_updated_at, raw"

// rowOf is what allColumns must hold of a record.
func rowOf(e ads.Entity) []string {
	str := func(s string) string {
		if s == "" {
			return "NULL"
		}
		return s
	}
	num := func(v int64, set bool) string {
		if !set {
			return "NULL"
		}
		return fmt.Sprint(v)
	}
	moment := func(o ads.Opt[time.Time]) string {
		if !o.Set {
			return "NULL"
		}
		return text(o.Value.Truncate(time.Microsecond))
	}
	raw, conv := "NULL", "NULL"
	if e.Raw != nil {
		raw = string(e.Raw)
	}
	if e.Conversions.Set {
		conv = e.Conversions.Value.String()
		if strings.Contains(conv, ".") {
			conv = strings.TrimRight(strings.TrimRight(conv, "0"), ".")
		}
	}
	return []string{
		e.ID, e.Name, string(e.Status), str(e.PlatformStatus), str(e.Objective), num(int64(e.Budget.Value), e.Budget.Set), str(e.BudgetPeriod), str(e.Currency),
		num(e.Impressions.Value, e.Impressions.Set), num(e.Clicks.Value, e.Clicks.Set), conv, moment(e.CreatedAt), moment(e.PlatformUpdatedAt), raw,
	}
}

// oddEntities have values of the kind that break a database that is not asked properly (faults 65, 66, 69, 70, 73).
func oddEntities() []ads.Entity {
	out := []ads.Entity{
		{ID: "empty", Status: ads.StatusUnknown},
		{
			ID: "limits", Name: "limits", Status: ads.StatusEnded, Budget: ads.Some(ads.Micros(math.MaxInt64)), Impressions: ads.Some(int64(math.MaxInt64)),
			Clicks: ads.Some(int64(math.MinInt64)), Conversions: ads.Some(ads.Decimal{Coef: math.MaxInt64, Scale: 9}), Raw: []byte(`{"n":9223372036854775807}`),
			CreatedAt: ads.Some(time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC)), PlatformUpdatedAt: ads.Some(time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)),
		},
		{ID: "negative", Status: ads.StatusPaused, Budget: ads.Some(ads.Micros(-1)), Conversions: ads.Some(ads.Decimal{Coef: -15, Scale: 1}), Impressions: ads.Some(int64(0))},
		{ID: "zone", Status: ads.StatusActive, CreatedAt: ads.Some(time.Date(2024, 2, 29, 23, 30, 0, 123_456_789, time.FixedZone("", -5*3600)))},
		{ID: "big", Name: strings.Repeat("ü", 60_000), Status: ads.StatusActive, Raw: []byte(`{"name":"` + strings.Repeat("x", 120_000) + `"}`)},
		{ID: "escapes", Status: ads.StatusActive, Raw: []byte(`{"name":"a\u0000b\\ \ud83c\udfaf \ud800","s":[1,2,{}] ,	"name":"again"}`)},
		{ID: strings.Repeat("i", 1024), Status: ads.StatusActive},
	}
	for i, coef := range []int64{1, 10, 12_500_000, 999_999_999_999_999, -999_999_999_999_999, 1_000_000_000_000_001, 9_007_199_254_740_993} {
		for _, scale := range []uint8{0, 1, 4, 9} {
			out = append(out, ads.Entity{ID: fmt.Sprintf("dec%d-%d", i, scale), Status: ads.StatusDraft, Conversions: ads.Some(ads.Decimal{Coef: coef, Scale: scale})})
		}
	}
	for i, s := range oddStrings {
		out = append(out, ads.Entity{
			ID: fmt.Sprintf("odd %d %s", i, s), Name: s, Status: ads.StatusActive, PlatformStatus: s, Objective: s, BudgetPeriod: s, Currency: s, Raw: []byte(`"` + fmt.Sprint(i) + `"`),
		})
	}
	return out
}

var oddStrings = []string{
	`'`, `"`, `\`, `\\N`, `\N`, `\.`, "a\tb\nc\rd\v\f\b", "'; DROP TABLE campaigns; --", "émoji 🎯👨‍👩‍👧", "עברית", "\u202etxet", "=cmd|' /C calc'!A0", "<script>alert(1)</script>",
	"\x1b[31mred", "\x01\x02\x7f", "a\uFFFDb", "%s %d ?1 $1 :x @y", "{}", "NULL", "null", " ", "\u00a0", "a/b/../c?d%2f", "\ufeffbom", "1", "1.0", "1e400", "true",
}

func testOddValues(t *testing.T, db Database) {
	s := open(t, db)
	odd := oddEntities()
	var want [][]string
	for _, e := range odd {
		want = append(want, rowOf(e))
	}
	byID := func(rows [][]string) map[string][]string {
		m := map[string][]string{}
		for _, r := range rows {
			m[r[0]] = r
		}
		return m
	}
	check := func(where string) {
		got := byID(db.Rows(t, "SELECT "+allColumns+" FROM campaigns"))
		if len(got) != len(want) {
			t.Errorf("%s: %d rows, want %d", where, len(got), len(want))
		}
		for _, w := range want {
			g := got[w[0]]
			if g == nil {
				t.Errorf("%s: %.40q is missing", where, w[0])
				continue
			}
			for i := range w {
				if g[i] != w[i] {
					t.Errorf("%s: id %.40q column %d:\n got %.200q\nwant %.200q", where, w[0], i, g[i], w[i])
				}
			}
		}
	}
	// Straight, then again over rows that are there, then through items, one path as good as the other.
	x := begin(t, s, acme, newRun("r1", at(0)))
	n := int64(len(odd))
	l := x.listedDirect(odd...)
	l.AllMaybeSeen = false
	wantResult(t, x.commit(store.Commit{Stamp: at(1), Listed: l}), store.Result{Written: n})
	check("first")
	x.finish(ads.Complete, at(2))
	x = begin(t, s, acme, newRun("r2", at(3)))
	wantResult(t, x.direct(at(4), odd...), store.Result{Written: n, Unchanged: n})
	check("again")
	x.finish(ads.Complete, at(5))
	db.Exec(t, "DELETE FROM campaigns")
	x = begin(t, s, acme, newRun("r3", at(6)))
	l = x.listedDirect(odd...)
	l.Direct, l.FirstSeq = false, 1
	x.commit(store.Commit{Stamp: at(7), Listed: l})
	var done []int64
	for _, it := range x.pending() {
		done = append(done, it.Seq)
	}
	wantResult(t, x.commit(store.Commit{Stamp: at(8), Done: done}), store.Result{Written: n})
	check("items")
	x.finish(ads.Complete, at(9))
}

// anyEntity draws a record.
func anyEntity(id *rapid.Generator[string]) *rapid.Generator[ads.Entity] {
	word := rapid.OneOf(rapid.SampledFrom(oddStrings), rapid.Just(""), rapid.Map(rapid.String(), ads.Text))
	count := rapid.Custom(func(t *rapid.T) ads.Opt[int64] {
		return ads.Opt[int64]{Set: true, Value: rapid.Int64().Draw(t, "n")}
	})
	moment := rapid.Custom(func(t *rapid.T) ads.Opt[time.Time] {
		return ads.Some(time.UnixMicro(rapid.Int64Range(-62_135_596_800_000_000+1, 253_402_300_799_999_999).Draw(t, "time")).UTC())
	})
	return rapid.Custom(func(t *rapid.T) ads.Entity {
		e := ads.Entity{
			ID: id.Draw(t, "id"), Name: word.Draw(t, "name"), Status: rapid.SampledFrom([]ads.Status{ads.StatusActive, ads.StatusPaused, ads.StatusUnknown}).Draw(t, "status"),
			PlatformStatus: word.Draw(t, "platform status"), Objective: word.Draw(t, "objective"), BudgetPeriod: word.Draw(t, "period"), Currency: word.Draw(t, "currency"),
		}
		if rapid.Bool().Draw(t, "figures") {
			e.Impressions, e.Clicks = count.Draw(t, "impressions"), count.Draw(t, "clicks")
			e.Budget = ads.Some(ads.Micros(rapid.Int64().Draw(t, "budget")))
			e.Conversions = ads.Some(ads.Decimal{Coef: rapid.Int64().Draw(t, "conversions"), Scale: rapid.Uint8Range(0, ads.MaxScale).Draw(t, "scale")})
		}
		if rapid.Bool().Draw(t, "times") {
			e.CreatedAt, e.PlatformUpdatedAt = moment.Draw(t, "created"), moment.Draw(t, "updated")
		}
		if rapid.Bool().Draw(t, "raw") {
			e.Raw = []byte(`{"name":` + fmt.Sprintf("%d", rapid.Int64().Draw(t, "raw")) + `}`)
		}
		return e
	})
}

// Whatever a record holds is what its row holds.
func testAnyValues(t *testing.T, db Database) {
	s := open(t, db)
	run := 0
	gen := rapid.SliceOfNDistinct(anyEntity(rapid.Map(rapid.StringN(1, 40, 200), ads.Text)), 1, 8, func(e ads.Entity) string { return e.ID })
	rapid.Check(t, func(rt *rapid.T) {
		run++
		records := gen.Draw(rt, "records")
		x := begin(t, s, ads.Ref{ClientID: fmt.Sprintf("client %d", run), Connection: "c"}, newRun(fmt.Sprint("run ", run), at(run)))
		defer x.finish(ads.Complete, at(run))
		for range 2 {
			x.direct(at(run), records...)
			rows := db.Rows(t, fmt.Sprintf("SELECT %s FROM campaigns WHERE client_id = 'client %d'", allColumns, run))
			if len(rows) != len(records) {
				rt.Fatalf("%d rows for %d records", len(rows), len(records))
			}
			for _, r := range rows {
				for _, e := range records {
					if w := rowOf(e); e.ID == r[0] && fmt.Sprint(r) != fmt.Sprint(w) {
						rt.Fatalf("got  %q\nwant %q", r, w)
					}
				}
			}
		}
	})
}

func testChangedAt(t *testing.T, db Database) {
	s := open(t, db)
	const times = "SELECT first_seen_at, changed_at, synced_at, removed_at FROM campaigns"
	e := entity("c1")
	second := 0
	write := func(name string, e ads.Entity, changes bool, changedAt int) int {
		t.Helper()
		second += 10
		x := begin(t, s, acme, newRun("run "+name, at(second)))
		res := x.direct(at(second+1), e)
		x.finish(ads.Complete, at(second+2))
		want := store.Result{Written: 1}
		if changes {
			changedAt = second + 1
		} else {
			want.Unchanged = 1
		}
		if res != want {
			t.Errorf("%s: %+v, want %+v", name, res, want)
		}
		if got := db.Rows(t, times); got[0][1] != text(at(changedAt)) || got[0][2] != text(at(second+1)) || got[0][0] != text(at(11)) || got[0][3] != "NULL" {
			t.Errorf("%s: %q, want changed at %s", name, got, text(at(changedAt)))
		}
		if got := db.Rows(t, "SELECT "+allColumns+" FROM campaigns"); fmt.Sprint(got[0]) != fmt.Sprint(rowOf(e)) {
			t.Errorf("%s: %q, want %q", name, got[0], rowOf(e))
		}
		return changedAt
	}
	changed := write("first", e, true, 0)
	changed = write("same", e, false, changed)
	for _, tt := range []struct {
		name    string
		change  func(*ads.Entity)
		changes bool
	}{
		{"impressions", func(e *ads.Entity) { e.Impressions = ads.Some(int64(1)) }, false},
		{"clicks", func(e *ads.Entity) { e.Clicks = ads.Opt[int64]{} }, false},
		{"conversions", func(e *ads.Entity) { e.Conversions = ads.Some(ads.Decimal{Coef: 125, Scale: 1}) }, false},
		{"raw", func(e *ads.Entity) { e.Raw = []byte(`{"other":1}`) }, false},
		{"name", func(e *ads.Entity) { e.Name = "other" }, true},
		{"status", func(e *ads.Entity) { e.Status = ads.StatusPaused }, true},
		{"platform status", func(e *ads.Entity) { e.PlatformStatus = "PAUSED" }, true},
		{"objective", func(e *ads.Entity) { e.Objective = "sales" }, true},
		{"objective gone", func(e *ads.Entity) { e.Objective = "" }, true},
		{"budget", func(e *ads.Entity) { e.Budget.Value++ }, true},
		{"budget gone", func(e *ads.Entity) { e.Budget = ads.Opt[ads.Micros]{} }, true},
		{"budget zero", func(e *ads.Entity) { e.Budget = ads.Some(ads.Micros(0)) }, true},
		{"budget period", func(e *ads.Entity) { e.BudgetPeriod = "daily" }, true},
		{"currency", func(e *ads.Entity) { e.Currency = "EUR" }, true},
		{"created", func(e *ads.Entity) { e.CreatedAt = ads.Some(base.Add(time.Microsecond)) }, true},
		{"updated", func(e *ads.Entity) { e.PlatformUpdatedAt = ads.Some(base) }, true},
		{"nothing", func(*ads.Entity) {}, false},
	} {
		tt.change(&e)
		changed = write(tt.name, e, tt.changes, changed)
	}
}

// A record listed again in its run is written again and counted once.
func testDirectSeen(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.direct(at(1), entities("a", "b")...)
	x.finish(ads.Complete, at(2))

	x = begin(t, s, acme, newRun("r2", at(10)))
	wantResult(t, x.direct(at(11), entities("a", "new")...), store.Result{Written: 2, Unchanged: 1})
	wantResult(t, x.direct(at(12), entities("b", "a", "c")...), store.Result{SeenInRun: 1, SeenInPass: 1, Written: 2, Unchanged: 1})
	// The next pass has seen none of them, the run all but one.
	renamed := entity("a")
	renamed.Name = "renamed"
	l := x.listedDirect(append(entities("new", "d"), renamed)...)
	l.Pass, l.PassStart = 2, at(13)
	wantResult(t, x.commit(store.Commit{Stamp: at(13), Listed: l}), store.Result{SeenInRun: 2, Written: 1})
	l = x.listedDirect(entities("new", "b")...)
	l.Pass, l.PassStart = 2, at(13)
	wantResult(t, x.commit(store.Commit{Stamp: at(13), Listed: l}), store.Result{SeenInRun: 2, SeenInPass: 1})
	// Only suspects are looked at.
	l = x.listedDirect(entities("a", "e", "f", "c", "g")...)
	l.AllMaybeSeen, l.MaybeSeen = false, []int{3, 0, 4}
	l.PassStart = at(13)
	wantResult(t, x.commit(store.Commit{Stamp: at(14), Listed: l}), store.Result{SeenInRun: 2, SeenInPass: 1, Written: 3})
	x.finish(ads.Complete, at(15))
	wantRows(t, db, "SELECT id, synced_at FROM campaigns ORDER BY id",
		[]string{"a", text(at(14))}, []string{"b", text(at(13))}, []string{"c", text(at(14))}, []string{"d", text(at(13))}, []string{"e", text(at(14))},
		[]string{"f", text(at(14))}, []string{"g", text(at(14))}, []string{"new", text(at(13))})
	wantRows(t, db, "SELECT name, changed_at FROM campaigns WHERE id = 'a'", []string{"Campaign a", text(at(14))})
}

// A large first load of which a few may have come before: some have, some have not.
func testFirstLoadSuspects(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	batch := func(from, n int) (records []ads.Entity) {
		for i := range n {
			records = append(records, entity(fmt.Sprint("c", from+i)))
		}
		return records
	}
	l := x.listedDirect(batch(0, 400)...)
	l.AllMaybeSeen = false
	wantResult(t, x.commit(store.Commit{Stamp: at(1), Listed: l}), store.Result{Written: 400})
	l = x.listedDirect(batch(395, 400)...)
	l.AllMaybeSeen, l.MaybeSeen = false, []int{0, 1, 2, 3, 4, 5, 17, 399}
	l.Records[2].Name = "renamed"
	wantResult(t, x.commit(store.Commit{Stamp: at(2), Listed: l}), store.Result{SeenInRun: 5, SeenInPass: 5, Written: 395})
	wantRows(t, db, "SELECT count(*), count(DISTINCT id), count(DISTINCT synced_at), min(first_seen_at), max(first_seen_at) FROM campaigns", []string{"795", "795", "2", text(at(1)), text(at(2))})
	wantRows(t, db, "SELECT id, name, first_seen_at, changed_at, synced_at FROM campaigns WHERE id IN ('c396', 'c397', 'c412') ORDER BY id",
		[]string{"c396", "Campaign c396", text(at(1)), text(at(1)), text(at(2))}, []string{"c397", "renamed", text(at(1)), text(at(2)), text(at(2))},
		[]string{"c412", "Campaign c412", text(at(2)), text(at(2)), text(at(2))})
	x.finish(ads.Complete, at(3))
}

// Batches of all sizes are written whole: first load, and again with half of them changed.
func testBigBatches(t *testing.T, db Database) {
	s := open(t, db)
	for i, n := range []int{1, 2, 49, 50, 51, 199, 200, 201, 2500} {
		ref := ads.Ref{ClientID: fmt.Sprint("client", n), Connection: "c"}
		var records []ads.Entity
		for k := range n {
			records = append(records, entity(fmt.Sprint("campaign_", k)))
		}
		x := begin(t, s, ref, newRun(fmt.Sprint("first", i), at(0)))
		l := x.listedDirect(records...)
		l.AllMaybeSeen = false
		wantResult(t, x.commit(store.Commit{Stamp: at(1), Listed: l}), store.Result{Written: int64(n)})
		x.finish(ads.Complete, at(2))
		x = begin(t, s, ref, newRun(fmt.Sprint("again", i), at(10)))
		changed := 0
		for k := range records {
			if k%2 == 0 {
				records[k].Name += " changed"
				changed++
			}
		}
		l = x.listedDirect(records...)
		l.AllMaybeSeen = i%2 == 0
		wantResult(t, x.commit(store.Commit{Stamp: at(11), Listed: l}), store.Result{Written: int64(n), Unchanged: int64(n - changed)})
		x.finish(ads.Complete, at(12))
		wantRows(t, db, fmt.Sprintf("SELECT count(*), count(DISTINCT id), sum(impressions) FROM campaigns WHERE client_id = 'client%d' AND platform = 'adplatform' AND synced_at = '%s'",
			n, text(at(11))), []string{fmt.Sprint(n), fmt.Sprint(n), fmt.Sprint(n * 8432)})
	}
}

func testItems(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	l := x.listedDirect(entities("a", "b", "c", "d")...)
	l.Direct, l.FirstSeq = false, 10
	wantResult(t, x.commit(store.Commit{Stamp: at(1), Listed: l}), store.Result{})
	wantRows(t, db, "SELECT count(*) FROM campaigns", []string{"0"}) // until its own call has succeeded, the last good row stands
	got := x.pending()
	if ids(got) != "a b c d" || got[0] != (store.Item{Seq: 10, Account: "acc", Stream: "campaigns", ID: "a"}) {
		t.Fatalf("pending: %+v", got)
	}
	wantResult(t, x.commit(store.Commit{Stamp: at(2), Done: []int64{11}}), store.Result{Written: 1})
	wantResult(t, x.commit(store.Commit{
		Stamp: at(3), Done: []int64{13, 11},
		Failed: []store.ItemFailure{{Seq: 10, Class: ads.ClassTransient, Code: "http_500", Message: "500", Hint: "h", RequestID: "q", Attempts: 5, Backoff: store.Backoff{First: 97 * time.Second, Most: time.Hour, Limit: 6}}},
	}), store.Result{Written: 1})
	if got := ids(x.pending()); got != "c" {
		t.Errorf("pending %q", got)
	}
	if got, err := s.Pending(testContext(t), x.lease, "r1", 12, 10); err != nil || len(got) != 0 {
		t.Errorf("above 12: %v, %v", got, err)
	}
	if got, err := s.Pending(testContext(t), x.lease, "r1", 0, 1); err != nil || ids(got) != "c" {
		t.Errorf("one: %v, %v", got, err)
	}
	wantRows(t, db, "SELECT "+allColumns+" FROM campaigns ORDER BY id", rowOf(entity("b")), rowOf(entity("d")))
	wantRows(t, db, "SELECT id, client_id, connection, account_id, platform, first_seen_at, changed_at, synced_at, removed_at FROM campaigns ORDER BY id",
		[]string{"b", "acme", "adplatform", "acc", "adplatform", text(at(2)), text(at(2)), text(at(2)), "NULL"},
		[]string{"d", "acme", "adplatform", "acc", "adplatform", text(at(3)), text(at(3)), text(at(3)), "NULL"})
	wantRows(t, db, "SELECT entity_id, class, code, message, hint, request_id, attempts, next_retry_at, raw FROM failures",
		[]string{"a", "transient", "http_500", "500", "h", "q", "5", text(at(100)), `{"id":"a"}`})
	// Results that come late or twice change nothing.
	wantResult(t, x.commit(store.Commit{
		Stamp: at(4), Done: []int64{10, 11, 999},
		Failed: []store.ItemFailure{{Seq: 11, Class: ads.ClassTransient, Message: "late"}, {Seq: 999, Class: ads.ClassTransient, Message: "unknown"}},
	}), store.Result{})
	wantRows(t, db, "SELECT count(*) FROM failures", []string{"1"})
	wantRows(t, db, "SELECT id, synced_at FROM campaigns ORDER BY id", []string{"b", text(at(2))}, []string{"d", text(at(3))})
	// The next life goes on with what is left.
	x.finish(ads.Interrupted, at(5))
	s2 := open(t, db)
	x = begin(t, s2, acme, newRun("other", at(6)))
	if !x.run.Resumed || x.run.ID != "r1" || x.run.Pending != 1 || ids(x.pending()) != "c" || x.run.CommitSeq != 4 {
		t.Errorf("resumed: %+v", x.run)
	}
	wantResult(t, x.commit(store.Commit{Stamp: at(7), Done: []int64{12}}), store.Result{Written: 1})
	x.finish(ads.Partial, at(8))
}

func testItemsListedAgain(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	list := func(second, pass int, first int64, records ...ads.Entity) store.Result {
		l := x.listedDirect(records...)
		l.Direct, l.FirstSeq, l.Pass, l.PassStart = false, first, pass, at(second)
		return x.commit(store.Commit{Stamp: at(second), Listed: l})
	}
	wantResult(t, list(1, 1, 1, entities("done", "failed", "waits")...), store.Result{})
	x.commit(store.Commit{Stamp: at(2), Done: []int64{1}, Failed: []store.ItemFailure{{Seq: 2, Class: ads.ClassPermanent, Message: "404", Attempts: 1}}})
	newer := entity("waits")
	newer.Name = "newer"
	wantResult(t, list(3, 1, 4, newer), store.Result{SeenInRun: 1, SeenInPass: 1})
	wantResult(t, list(4, 2, 5, append(entities("done", "failed", "fresh"), newer)...), store.Result{SeenInRun: 3})
	wantResult(t, list(5, 2, 9, entities("done")...), store.Result{SeenInRun: 1, SeenInPass: 1})
	got := x.pending()
	if ids(got) != "waits fresh" || got[0].Seq != 3 {
		t.Fatalf("pending: %+v", got) // an item keeps its place, and what is done or failed stays so
	}
	wantResult(t, x.commit(store.Commit{Stamp: at(6), Done: []int64{3, got[1].Seq}}), store.Result{Written: 2})
	wantRows(t, db, "SELECT id, name, synced_at FROM campaigns ORDER BY id",
		[]string{"done", "Campaign done", text(at(2))}, []string{"fresh", "Campaign fresh", text(at(6))}, []string{"waits", "newer", text(at(6))})
	// All but the failed one are of the second pass, and so is that.
	res, err := s.Sweep(testContext(t), x.lease, store.Sweep{RunID: "r1", Account: "acc", Stream: "campaigns", Pass: 2, PassStart: at(4), RunStart: at(0), Stamp: at(7), MaxShare: 1})
	if err != nil || res != (store.SweepResult{Present: 3}) {
		t.Errorf("%+v, %v", res, err)
	}
	x.finish(ads.Complete, at(8))
}

// Text from outside that is no record's value is made storable on the way (faults 70 and 71), and so is JSON that is not UTF-8.
func testOddTexts(t *testing.T, db Database) {
	s := open(t, db)
	const bad, good = "a\x00b\xffc", "a\uFFFDb\uFFFDc"
	x := begin(t, s, acme, newRun("r1", at(0)))
	e := entity("raw")
	e.Raw = []byte(`{"name":"` + "\xff\xfe" + `é"}`)
	l := x.listedDirect(e, entity("fails"))
	l.Direct, l.FirstSeq = false, 1
	x.commit(store.Commit{Stamp: at(1), Platform: "p", Accounts: []ads.Account{{ID: bad, Name: bad, Status: ads.StatusActive, PlatformStatus: bad, Currency: bad, TimeZone: bad, Raw: []byte(`"` + bad + `"`)}}, Listed: l})
	x.commit(store.Commit{
		Stamp: at(2), Done: []int64{1}, Failed: []store.ItemFailure{{Seq: 2, Class: ads.ClassPermanent, Code: bad, Message: bad, Hint: bad, RequestID: bad}},
		Problems: []ads.Problem{{EntityID: bad, Code: bad, Message: bad, Hint: bad, Raw: []byte(bad)}},
	})
	e.ID = "direct"
	x.direct(at(3), e)
	if err := s.NoteWait(testContext(t), x.lease, store.Wait{Reason: bad, Until: at(9)}); err != nil {
		t.Error(err)
	}
	if err := s.FinishRun(testContext(t), x.lease, store.FinishRun{RunID: "r1", Outcome: ads.Partial, Now: at(4), Error: bad}); err != nil {
		t.Error(err)
	}
	x.release()
	wantRows(t, db, "SELECT id, name, platform_status, currency, time_zone, raw FROM accounts", []string{good, good, good, good, good, `"` + good + `"`})
	wantRows(t, db, "SELECT entity_id, code, message, hint, request_id, raw FROM failures ORDER BY entity_id", []string{good, good, good, good, "NULL", good}, []string{"fails", good, good, good, good, `{"id":"fails"}`})
	const raw = `{"name":"` + "\uFFFD" + `é"}`
	wantRows(t, db, "SELECT id, raw FROM campaigns ORDER BY id", []string{"direct", raw}, []string{"raw", raw})
	wantRows(t, db, "SELECT error FROM runs", []string{good})
}

func testRepeatedCommit(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	c := store.Commit{Stamp: at(1), Listed: x.listedDirect(entities("a", "b")...), Problems: []ads.Problem{{EntityID: "page 1, position 3", Code: "no_id", Message: "no id"}}}
	first := x.commit(c)
	x.seq--
	calls := 0
	c.After = func(r store.Result) store.RunUpdate {
		calls++
		if r != first {
			t.Errorf("After was told %+v, want %+v", r, first)
		}
		return store.RunUpdate{State: []byte("not stored")}
	}
	wantResult(t, x.commit(c), first) // fault 96: the answer to the first one was lost
	if calls == 0 {
		t.Error("After was not called, though the caller learns from it what was done")
	}
	wantRows(t, db, "SELECT attempts FROM failures", []string{"1"})
	wantRows(t, db, "SELECT synced_at FROM campaigns WHERE id = 'a'", []string{text(at(1))})
	x.seq += 3
	if _, err := x.try(store.Commit{Stamp: at(2), Listed: x.listedDirect(entity("c"))}); err == nil {
		t.Error("a commit that does not follow the last one went through")
	}
	x.seq -= 3
	x.release()
	x = begin(t, s, acme, newRun("r2", at(3)))
	if string(x.run.State) != `{"commit":1}` || x.run.CommitSeq != 1 || x.run.Figures.Pages != 1 || x.run.Active != time.Second {
		t.Errorf("%+v, state %s", x.run, x.run.State)
	}
}

func testNothingOnError(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.direct(at(1), entity("a"))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic of After was swallowed")
			}
		}()
		_, _ = x.try(store.Commit{Stamp: at(2), Listed: x.listedDirect(entities("a", "b")...), After: func(store.Result) store.RunUpdate { panic("a bug") }})
	}()
	c := store.Commit{Stamp: at(3), Stream: "no such stream", Listed: x.listedDirect(entity("c")), Accounts: []ads.Account{{ID: "x"}}}
	if _, err := x.try(c); err == nil {
		t.Error("a stream without a table was written")
	}
	if x.lease.Ref.ClientID = "other"; true {
		_, err := x.try(store.Commit{Stamp: at(3), Listed: x.listedDirect(entity("c"))})
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("another client's lease: %v", err)
		}
		x.lease.Ref = acme
	}
	wantRows(t, db, "SELECT id, synced_at FROM campaigns", []string{"a", text(at(1))})
	wantRows(t, db, "SELECT count(*) FROM accounts", []string{"0"})
	wantResult(t, x.direct(at(4), entity("b")), store.Result{Written: 1}) // and it goes on
	x.finish(ads.Complete, at(5))
	if _, err := x.try(store.Commit{Stamp: at(6)}); err == nil {
		t.Error("a run that has ended took a commit")
	}
}
