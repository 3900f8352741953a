package server

import (
	"strings"
	"testing"
	"time"

	"adsync/internal/live"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// A connection that some process holds is running, whatever it waits for; it is parked when none does.
func TestRunningComesBeforeParked(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	held := store.ConnectionStatus{Running: true, Holder: "pid 7 on host", Wait: store.Wait{Reason: "10 requests a minute", Until: now.Add(40 * time.Second)}}
	loose := held
	loose.Running = false
	for _, mark := range []observe.ParkKind{"", observe.ParkQuota, observe.ParkAuth, observe.ParkFailed} {
		held.Wait.Mark, loose.Wait.Mark = string(mark), string(mark)
		k := known{ConnectionStatus: held}
		if s, words := k.standing(now); s != isRunning || !strings.Contains(words, "pid 7 on host") || !strings.Contains(words, "12:00:40") {
			t.Errorf("held, mark %q: %s, %s", mark, s, words)
		}
		k = known{ConnectionStatus: loose, Live: live.Progress{Running: true}}
		if s, _ := k.standing(now); s != isRunning {
			t.Errorf("running here, mark %q: %s", mark, s)
		}
		k = known{ConnectionStatus: loose}
		if s, _ := k.standing(now); s == isRunning {
			t.Errorf("held by nobody, mark %q: %s", mark, s)
		}
	}
}
