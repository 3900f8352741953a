package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func testCampaigns(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	ref, other := ads.Ref{ClientID: "a", Connection: "x"}, ads.Ref{ClientID: "a", Connection: "y"}
	bare := ads.Entity{ID: "4", Name: "100%_sure! Été", Status: ads.StatusPaused, Raw: []byte("{}")}
	x := begin(t, s, ref, newRun("run1", at(0)))
	x.direct(at(1), append(entities("1", "2", "3", "gone"), bare)...)
	x.finish(ads.Complete, at(2))
	y := begin(t, s, other, newRun("run2", at(3)))
	y.direct(at(4), entity("1"), entity("9"))
	y.finish(ads.Complete, at(5))
	db.Exec(t, "UPDATE campaigns SET removed_at = '"+text(at(7))+"' WHERE id = 'gone'")

	read := func(f store.CampaignFilter) []store.CampaignRow {
		t.Helper()
		f.Ref = ref
		got, err := s.Campaigns(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	show := func(rows []store.CampaignRow) string {
		var out []string
		for _, r := range rows {
			out = append(out, r.ID)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		f    store.CampaignFilter
		want string
	}{
		{store.CampaignFilter{}, "1 2 3 4"},
		{store.CampaignFilter{Removed: true}, "gone"},
		{store.CampaignFilter{Search: "cAMPAIGN"}, "1 2 3"},
		{store.CampaignFilter{Search: "2"}, "2"},
		{store.CampaignFilter{Search: "4"}, "4"},
		{store.CampaignFilter{Search: "%"}, "4"},
		{store.CampaignFilter{Search: "_"}, "4"},
		{store.CampaignFilter{Search: "!"}, "4"},
		{store.CampaignFilter{Search: "Été"}, "4"},
		{store.CampaignFilter{Search: "' OR 1=1 --"}, ""},
		{store.CampaignFilter{Status: ads.StatusPaused}, "4"},
		{store.CampaignFilter{Limit: 2}, "1 2"},
	} {
		if got := show(read(tt.f)); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.f, got, tt.want)
		}
	}
	var paged []store.CampaignRow
	for range 10 {
		f := store.CampaignFilter{Limit: 1}
		if n := len(paged); n > 0 {
			f.AfterAccount, f.AfterID = paged[n-1].Account, paged[n-1].ID
		}
		rows := read(f)
		if len(rows) == 0 {
			break
		}
		paged = append(paged, rows...)
	}
	if got := show(paged); got != "1 2 3 4" {
		t.Errorf("page by page: %q", got)
	}
	all := read(store.CampaignFilter{})
	want := entity("1")
	if got := all[0]; got.Name != want.Name || got.Status != want.Status || got.PlatformStatus != want.PlatformStatus || got.Budget != want.Budget ||
		got.Impressions != want.Impressions || got.Clicks != want.Clicks || !got.SyncedAt.Equal(at(1)) || !got.ChangedAt.Equal(at(1)) || !got.FirstSeenAt.Equal(at(1)) || !got.RemovedAt.IsZero() {
		t.Errorf("%+v", got)
	}
	i := slices.IndexFunc(all, func(r store.CampaignRow) bool { return r.ID == "4" })
	if i < 0 {
		t.Fatal("the bare record is missing")
	}
	if got := all[i]; got.Budget.Set || got.Impressions.Set || got.Clicks.Set || got.PlatformStatus != "" {
		t.Errorf("what is absent is not absent: %+v", got)
	}
	if got := read(store.CampaignFilter{Removed: true}); !got[0].RemovedAt.Equal(at(7)) {
		t.Errorf("removed at %s", got[0].RemovedAt)
	}
}

// Every order is that of the rows themselves, whole and page by page, what is absent last in both directions.
func testCampaignsSorted(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	ref := ads.Ref{ClientID: "a", Connection: "x"}
	x := begin(t, s, ref, newRun("run", at(0)))
	names := []string{"beta", "Alpha", "alpha", "_", "Été", "", "Zulu", "beta"}
	for i, name := range names {
		e := ads.Entity{ID: fmt.Sprint(i), Name: name, Status: []ads.Status{ads.StatusPaused, ads.StatusActive, ads.StatusEnded}[i%3], Raw: []byte("{}")}
		if i%4 != 0 {
			e.Budget, e.Clicks = ads.Some(ads.Micros(i*7%5)), ads.Some(int64(i*5%3))
		}
		if i%3 != 0 {
			e.Impressions = ads.Some(int64(-i))
		}
		x.direct(at(1+i*3%7), e)
	}
	x.finish(ads.Complete, at(20))
	read := func(f store.CampaignFilter) []store.CampaignRow {
		t.Helper()
		f.Ref = ref
		got, err := s.Campaigns(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	lower := func(r store.CampaignRow) string {
		return strings.Map(func(c rune) rune {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			return c
		}, r.Name)
	}
	number := func(of func(store.CampaignRow) (int64, bool)) func(a, b store.CampaignRow, sign int) int {
		return func(a, b store.CampaignRow, sign int) int {
			x, hasX := of(a)
			y, hasY := of(b)
			if hasX != hasY {
				return map[bool]int{true: -1, false: 1}[hasX]
			}
			return sign * cmp.Compare(x, y)
		}
	}
	for by, order := range map[store.CampaignSort]func(a, b store.CampaignRow, sign int) int{
		"":                  func(store.CampaignRow, store.CampaignRow, int) int { return 0 },
		"id; DROP TABLE":    func(store.CampaignRow, store.CampaignRow, int) int { return 0 },
		store.ByName:        func(a, b store.CampaignRow, sign int) int { return sign * strings.Compare(lower(a), lower(b)) },
		store.ByStatus:      func(a, b store.CampaignRow, sign int) int { return sign * cmp.Compare(a.Status, b.Status) },
		store.ByBudget:      number(func(r store.CampaignRow) (int64, bool) { return int64(r.Budget.Value), r.Budget.Set }),
		store.ByImpressions: number(func(r store.CampaignRow) (int64, bool) { return r.Impressions.Value, r.Impressions.Set }),
		store.ByClicks:      number(func(r store.CampaignRow) (int64, bool) { return r.Clicks.Value, r.Clicks.Set }),
		store.BySynced:      func(a, b store.CampaignRow, sign int) int { return sign * a.SyncedAt.Compare(b.SyncedAt) },
		store.ByChanged:     func(a, b store.CampaignRow, sign int) int { return sign * a.ChangedAt.Compare(b.ChangedAt) },
	} {
		for _, descending := range []bool{false, true} {
			want, sign := read(store.CampaignFilter{}), map[bool]int{false: 1, true: -1}[descending]
			if len(want) != len(names) {
				t.Fatalf("%d rows, want %d", len(want), len(names))
			}
			slices.SortStableFunc(want, func(a, b store.CampaignRow) int { return order(a, b, sign) })
			var got []store.CampaignRow
			for range names {
				got = append(got, read(store.CampaignFilter{Sort: by, Descending: descending, Skip: len(got), Limit: 3})...)
			}
			if len(got) != len(want) || !slices.EqualFunc(got, want, func(a, b store.CampaignRow) bool { return a.ID == b.ID }) {
				t.Errorf("by %q, descending %v: %d rows, not in order", by, descending, len(got))
			}
		}
	}
}
