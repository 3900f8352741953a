package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"adsync/internal/simulator"
)

// Fault 114: a hundred clients side by side in little memory, which the runtime's own limit is told to keep to.
func TestFault114ManyClientsInLittleMemory(t *testing.T) {
	const clients, campaigns = 100, 1000
	p := newPlatform(t, func(c *simulator.Config) {
		c.Quota, c.Campaigns, c.Static = simulator.Quota{}, campaigns, true
	})
	b := newBed(t, p, "GOMEMLIMIT=200MiB")
	var file bytes.Buffer
	file.WriteString("database: sqlite:adsync.db\ndefaults: {url: " + p.URL + ", quota: none, page_size: 500, per_campaign_sync: false, " +
		"credentials: {email: '${AD_PLATFORM_EMAIL}', password: '${AD_PLATFORM_PASSWORD}'}}\nclients:\n")
	for i := range clients {
		fmt.Fprintf(&file, "  - id: c%d\n    connections: [{platform: adplatform}]\n", i)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "adsync.yaml"), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _, errs := b.command("sync", "--json")
	// The last request of all is the moment at which nearly all that is held at once has been held: the peak is read there and after.
	var mu sync.Mutex
	peak := 0
	started := make(chan struct{})
	p.watch(nil, func(*http.Request) {
		<-started
		mu.Lock()
		defer mu.Unlock()
		peak = max(peak, peakKiB(cmd.Process.Pid))
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	close(started)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	p.watch(nil, nil)
	mu.Lock()
	defer mu.Unlock()
	if n := one[int](t, b.db(), "SELECT count(*) FROM campaigns"); n != clients*campaigns {
		t.Errorf("%d campaigns stored", n)
	}
	t.Logf("peak %d MiB", peak>>10)
	if peak == 0 || peak > 256<<10 {
		t.Errorf("peak memory %d KiB, at most 256 MiB allowed", peak)
	}
}

// peakKiB is a process's peak memory so far.
func peakKiB(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(f[0])
	return n
}

// Fault 118: the machine sleeps in the middle of a run. It goes on, with no burst and nothing asked for twice.
func TestFault118Asleep(t *testing.T) {
	window := 2 * time.Second
	p := newPlatform(t, func(c *simulator.Config) {
		c.Campaigns, c.SyncLatency, c.Quota = 30, 20*time.Millisecond, simulator.Quota{N: 10, Window: window - 100*time.Millisecond}
	})
	b := newBed(t, p, "AD_PLATFORM_QUOTA=10/"+window.String())
	cmd, _, errs := b.command("sync", "--json")
	busy := p.firstSync()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-busy
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * window) // a whole window passes, and the answers to what was out are old
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	st := p.Stats().Clients["acme"]
	if st.Throttled > 0 || st.MaxCountedInWindow > 10 {
		t.Errorf("%d refusals, %d in a window", st.Throttled, st.MaxCountedInWindow)
	}
	for id, n := range st.Called {
		if n != 1 {
			t.Errorf("%s was synced %d times", id, n)
		}
	}
	if n := one[int](t, b.db(), "SELECT count(*) FROM campaigns"); n != 30 {
		t.Errorf("%d campaigns stored", n)
	}
}
