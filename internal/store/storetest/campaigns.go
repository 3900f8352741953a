package storetest

import (
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
