package quotatest_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/postgres"
	"adsync/internal/store/sqlite"
)

// 50 clients share one quota from four processes, spread unevenly and some of them greedy, on a real database: no window holds too many, and nobody is
// passed over for more than two turns of everybody, and a window that opens at once.
func TestFairOnPostgres(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	fair(t, func(ctx context.Context) (store.Store, error) {
		return postgres.Open(ctx, secret.New(dsn), postgres.Options{})
	})
}

func TestFairOnSQLite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adsync.db")
	fair(t, func(ctx context.Context) (store.Store, error) { return sqlite.Open(ctx, path, sqlite.Options{}) })
}

func fair(t *testing.T, open func(context.Context) (store.Store, error)) {
	limit := quota.Limit{N: 25, Window: 500 * time.Millisecond}
	spread := [][]int{slices.Repeat([]int{1}, 38), slices.Repeat([]int{2}, 9), {8, 8}, {1}}
	const clients, slots = 50, 300
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var sent []time.Time
	passed, most := map[string]int{}, map[string]int{} // of each client: others' slots since its last or since it began to wait
	waiting := map[string]int{}
	var wg sync.WaitGroup
	for p, each := range spread {
		st, err := open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}()
		if _, err := st.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		b := quota.NewManager(st).Declare("all", "app", "app", []quota.Limit{limit})
		for i, n := range each {
			name := fmt.Sprintf("client %d of process %d", i, p)
			for range n {
				wg.Go(func() {
					for ctx.Err() == nil {
						mu.Lock()
						if waiting[name]++; waiting[name] == 1 {
							passed[name] = 0
						}
						mu.Unlock()
						s, err := b.Take(ctx, quota.Ask{Owner: name, Priority: platform.PriorityFollowUp, MaxWait: time.Hour})
						at := time.Now()
						if err == nil {
							err = s.Ready() // from here on the ledger has it for no earlier than at
						}
						mu.Lock()
						waiting[name]--
						if err != nil {
							if ctx.Err() == nil {
								t.Error(err)
								cancel()
							}
							mu.Unlock()
							return
						}
						sent = append(sent, at)
						for other, n := range waiting {
							if n > 0 && other != name {
								passed[other]++
								most[other] = max(most[other], passed[other])
							}
						}
						passed[name] = 0
						if len(sent) >= slots {
							cancel()
						}
						mu.Unlock()
						s.Sent()
						s.Done(true)
					}
				})
			}
		}
	}
	wg.Wait()
	slices.SortFunc(sent, time.Time.Compare)
	for i := range sent {
		if j := i + limit.N; j < len(sent) && sent[j].Sub(sent[i]) < limit.Window {
			t.Errorf("%d requests within %v", limit.N+1, sent[j].Sub(sent[i]))
		}
	}
	worst := 0
	for name, n := range most {
		worst = max(worst, n)
		if n > 2*(clients+limit.N) {
			t.Errorf("%s was passed over %d times", name, n)
		}
	}
	took := sent[len(sent)-1].Sub(sent[0])
	t.Logf("%d slots in %v, the least is %v; at most %d slots of others while one of %d waited", len(sent), took, time.Duration((len(sent)-1)/limit.N)*limit.Window, worst, clients)
}
