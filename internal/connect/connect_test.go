package connect

import (
	"testing"
	"time"

	"adsync/internal/config"
	"adsync/internal/quota"
)

func TestUsefulInFlight(t *testing.T) {
	for _, tt := range []struct {
		quota []quota.Limit
		want  int
	}{
		{nil, 64},
		{[]quota.Limit{{N: 10, Window: time.Minute}}, 20},
		{[]quota.Limit{{N: 10, Window: 4 * time.Second}}, 64},
		{[]quota.Limit{{N: 1, Window: time.Hour}, {N: 10, Window: time.Minute}}, 2},
	} {
		if got := usefulInFlight(config.Connection{Quota: tt.quota, Timeout: 30 * time.Second}); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.quota, got, tt.want)
		}
	}
}
