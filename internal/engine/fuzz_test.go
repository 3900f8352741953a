package engine

import (
	"bytes"
	"testing"
	"time"

	"adsync/internal/store"
)

// A state that somebody else wrote, or a disk spoiled, is an error or a state that can be written and read again; never a crash.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"v":1,"listings":{"acme\u001fcampaigns":{"cursor":"2","pass":1}},"next_seq":3,"last_stamp":"2026-01-02T03:04:05Z","listed":2}`))
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{"v":1,"listings":{"x":null}}`))
	f.Add([]byte(`{"listings":null}`))
	f.Add([]byte(`{"v":1,"slices":{"a\u001fdaily_metrics_ad":{"from":"2026-11-01","to":"2026-11-07","cursor":"job 1"},"x":null}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		run := store.Run{ID: "r", StartedAt: time.Unix(0, 0).UTC(), State: stored}
		s, err := loadState(run)
		if err != nil {
			return
		}
		c := s.clone()
		_ = c.problems()
		for key := range c.Listings {
			splitListingKey(key)
		}
		if s.stamp(time.Unix(0, 0)).Before(s.LastStamp) {
			t.Error("time goes back")
		}
		run.State = s.encode()
		again, err := loadState(run)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !bytes.Equal(again.encode(), run.State) {
			t.Errorf("%s is read as %s", run.State, again.encode())
		}
	})
}
