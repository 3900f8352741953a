package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"adsync/internal/simulator"
)

// killPhases are the moments at which the process is killed.
var killPhases = []string{"token", "listing", "syncing", "committing", "waiting"}

// TestKilledAtAnyMoment is promise 2: SIGKILL at random moments, then the same command again. No campaign is lost or doubled, no sync that was
// committed is repeated, and the quota holds over all lives (faults 35, 101, 112). ADSYNC_KILLS sets the number of kills; 200 at leisure.
func TestKilledAtAnyMoment(t *testing.T) {
	kills := 12
	if n, err := strconv.Atoi(os.Getenv("ADSYNC_KILLS")); err == nil {
		kills = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("ADSYNC_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("%d kills, ADSYNC_SEED=%d", kills, seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	counts := map[string]int{}
	for done := 0; done < kills; {
		done += killScenario(t, rnd, min(4, kills-done), counts)
		if t.Failed() {
			return
		}
	}
	var parts []string
	for _, p := range killPhases {
		parts = append(parts, fmt.Sprintf("%s %d", p, counts[p]))
	}
	t.Logf("killed: %s", strings.Join(parts, ", "))
	if kills >= 200 {
		for _, p := range killPhases {
			if counts[p] < 20 {
				t.Errorf("only %d kills in %s", counts[p], p)
			}
		}
	}
}

// killScenario brings one client in step through several kills, and gives how many there were.
func killScenario(t *testing.T, rnd *rand.Rand, kills int, counts map[string]int) int {
	const campaigns, perWindow = 45, 20
	// The platform's window is a little shorter than the one that the program is told: a request that a busy machine delivers late is not the
	// program's doing. A window that was forgotten would still be exceeded many times over.
	window, told := 700*time.Millisecond, 850*time.Millisecond
	p := newPlatform(t, func(c *simulator.Config) {
		c.Campaigns, c.Quota, c.SyncLatency = campaigns, simulator.Quota{N: perWindow, Window: window}, 20*time.Millisecond
		c.Seed = rnd.Uint64()
	})
	b := newBed(t, p, fmt.Sprintf("AD_PLATFORM_QUOTA=%d/%s", perWindow, told))
	committed := map[string]int64{} // syncs that each campaign had when it was first seen in the database
	killed, over := 0, false
	for range kills {
		// The rarest phase next, so that all are met.
		phase := killPhases[rnd.IntN(len(killPhases))]
		for _, other := range killPhases {
			if counts[other] < counts[phase] {
				phase = other
			}
		}
		if !killIn(t, p, b, phase, rnd) {
			over = checkDatabase(t, b, p, committed) // it was done before that moment came
			break
		}
		counts[phase]++
		killed++
		if over = checkDatabase(t, b, p, committed); over {
			break // it died between the end of its work and its exit
		}
	}
	p.watch(nil, nil)
	if !over {
		code, s, errs := b.sync()
		if code != 0 {
			t.Fatalf("exit %d after %d kills:\n%s", code, killed, errs)
		}
		c := s.Connections[0]
		if c.Outcome != "complete" || c.Listed != campaigns || c.Synced != campaigns || c.Failed != 0 {
			t.Errorf("%+v", c)
		}
	}
	db := b.db()
	if got := ids(t, db); len(got) != campaigns {
		t.Errorf("%d campaigns stored", len(got))
	}
	if n := one[int](t, db, "SELECT count(*) FROM runs"); n != 1 {
		t.Errorf("%d runs: the killed one must be resumed under its id", n)
	}
	if ok := one[string](t, db, "PRAGMA integrity_check"); ok != "ok" {
		t.Errorf("integrity: %s", ok)
	}
	if !checkDatabase(t, b, p, committed) {
		t.Error("the run is not complete in the database")
	}
	st := p.Stats().Clients["acme"]
	for id, n := range committed {
		if got := st.Called[id]; got > n {
			t.Errorf("%s was synced again after its sync had been committed: %d calls, %d when it was stored", id, got, n)
		}
	}
	if st.MaxCountedInWindow > perWindow || st.Throttled > 0 {
		t.Errorf("quota over %d lives: at most %d of %d in a window, %d refusals", killed+1, st.MaxCountedInWindow, perWindow, st.Throttled)
	}
	return max(killed, 1)
}

// checkDatabase notes which campaigns are stored, and how often they had been synced by then. It reports whether the run is complete.
func checkDatabase(t *testing.T, b *bed, p *platform, committed map[string]int64) bool {
	t.Helper()
	if _, err := os.Stat(filepath.Join(b.dir, "adsync.db")); err != nil {
		return false
	}
	db := b.db()
	defer db.Close()
	called := map[string]int64{}
	if c := p.Stats().Clients["acme"]; c != nil {
		called = c.Called
	}
	for id := range ids(t, db) {
		if _, known := committed[id]; !known {
			committed[id] = called[id]
		}
	}
	var runs, complete int
	err := db.QueryRow("SELECT count(*), count(*) FILTER (WHERE outcome = 'complete') FROM runs").Scan(&runs, &complete)
	if err != nil && !strings.Contains(err.Error(), "no such table") {
		t.Fatal(err)
	}
	return complete > 0
}

// killIn starts a sync and kills it in the phase. It reports whether the moment came.
func killIn(t *testing.T, p *platform, b *bed, phase string, rnd *rand.Rand) bool {
	cmd, out, errs := b.command("sync", "--json")
	now := make(chan struct{})
	var once sync.Once
	strike := func(after time.Duration) {
		once.Do(func() { time.AfterFunc(after, func() { close(now) }) })
	}
	var mu sync.Mutex
	seen := map[string]int{}
	nth := 1 + rnd.IntN(12)
	delay, pause := time.Duration(rnd.IntN(4000))*time.Microsecond, time.Duration(rnd.IntN(300))*time.Millisecond
	kind := func(r *http.Request) string {
		switch {
		case r.URL.Path == "/auth/token":
			return "token"
		case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/"):
			return "listing"
		case r.Method == http.MethodPost:
			return "syncing"
		}
		return ""
	}
	count := func(r *http.Request) (string, int) {
		mu.Lock()
		defer mu.Unlock()
		k := kind(r)
		seen[k]++
		return k, seen[k]
	}
	wal := filepath.Join(b.dir, "adsync.db-wal")
	size := func() int64 {
		if fi, err := os.Stat(wal); err == nil {
			return fi.Size() ^ fi.ModTime().UnixNano()
		}
		return 0
	}
	switch phase {
	case "token":
		p.watch(func(r *http.Request) {
			if kind(r) == "token" {
				strike(delay)
			}
		}, nil)
	case "listing", "syncing":
		if phase == "listing" {
			nth = 1 + rnd.IntN(4)
		}
		p.watch(func(r *http.Request) {
			if k, n := count(r); k == phase && n >= nth {
				strike(delay)
			}
		}, nil)
	case "committing":
		p.watch(nil, func(r *http.Request) {
			if k, n := count(r); k == "syncing" && n >= nth {
				// From the moment a result is there, until the log of the database grows: then a transaction is being written.
				was := size()
				deadline := time.Now().Add(200 * time.Millisecond)
				for size() == was && time.Now().Before(deadline) {
					time.Sleep(50 * time.Microsecond)
				}
				strike(delay / 16)
			}
		})
	case "waiting":
		p.watch(nil, func(r *http.Request) {
			count(r)
			mu.Lock()
			n := seen["listing"] + seen["syncing"]
			mu.Unlock()
			if n >= 20 { // the window is used up: all that is left is to wait
				strike(60*time.Millisecond + pause)
			}
		})
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case <-now:
	case <-exited:
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit %d before it was killed in %s:\n%s%s", code, phase, out, errs)
		}
		return false
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Errorf("no end and no moment to kill in %s:\n%s%s", phase, out, errs)
		return false
	}
	_ = cmd.Process.Kill()
	<-exited
	p.watch(nil, nil)
	return true
}
