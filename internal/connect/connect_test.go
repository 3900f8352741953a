package connect

import (
	"testing"
	"time"

	"adsync/internal/config"
	"adsync/internal/quota"
)

func TestUsefulInFlight(t *testing.T) {
	for _, tt := range []struct {
		quota       []quota.Limit
		want, first int
	}{
		{nil, 64, 0},
		{[]quota.Limit{{N: 10, Window: time.Minute}}, 20, 12},
		{[]quota.Limit{{N: 10, Window: 4 * time.Second}}, 64, 12},
		{[]quota.Limit{{N: 1, Window: time.Hour}, {N: 10, Window: time.Minute}}, 2, 3},
	} {
		if got := quotaCalls(config.Connection{Quota: tt.quota}); got != tt.first {
			t.Errorf("%v: %d at first, want %d", tt.quota, got, tt.first)
		}
		if got := usefulInFlight(config.Connection{Quota: tt.quota, Timeout: 30 * time.Second}); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.quota, got, tt.want)
		}
	}
}
