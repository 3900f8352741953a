package quota_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
)

// crowd is clients that share one bucket from several processes, and always have something to send.
type crowd struct {
	limit    quota.Limit
	atOnce   [][]int // by process and client: how many requests of it wait at once
	ledger   quota.Ledger
	lasts    time.Duration
	way      func() time.Duration // to the server
	priority func(client int) platform.Priority
	dies     map[int]time.Duration // processes, and when
}

// outcome is what the crowd got.
type outcome struct {
	w       *window
	begin   time.Time
	mu      sync.Mutex
	served  int
	clients map[string]*client
}

// client is how one was served.
type client struct {
	waiting int // its requests that wait
	from    int // how many slots were given out when it began to wait, or had its last one since
	since   time.Time
	most    int           // others' slots while it waited for one
	longest time.Duration // for which it waited for one
	slots   int
}

func (o *outcome) ask(c *client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.waiting++; c.waiting == 1 {
		c.from, c.since = o.served, time.Now()
	}
}

// got notes down that a wait is over, with a slot or with none.
func (o *outcome) got(c *client, slot bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.waiting--
	c.most, c.longest = max(c.most, o.served-c.from), max(c.longest, time.Since(c.since))
	if slot {
		o.served++
		c.slots++
	}
	c.from, c.since = o.served, time.Now()
}

func (c crowd) run(t *testing.T) *outcome {
	o := &outcome{w: &window{limit: c.limit}, begin: time.Now(), clients: map[string]*client{}}
	ctx, cancel := context.WithTimeout(t.Context(), c.lasts)
	defer cancel()
	var wg sync.WaitGroup
	for p, clients := range c.atOnce {
		var dead atomic.Bool
		pctx := ctx
		if at, ok := c.dies[p]; ok {
			var die context.CancelFunc
			pctx, die = context.WithCancel(ctx)
			timer := time.AfterFunc(at, func() { dead.Store(true); die() })
			defer timer.Stop()
		}
		b := quota.NewManager(mortal{c.ledger, &dead}).Bucket("app", "app", c.limit)
		for i, n := range clients {
			name := fmt.Sprintf("client %d of process %d", i, p)
			prio := platform.PriorityFollowUp
			if c.priority != nil {
				prio = c.priority(i)
			}
			cl := &client{}
			if _, dies := c.dies[p]; !dies {
				o.clients[name] = cl
			}
			for range n {
				wg.Go(func() {
					for pctx.Err() == nil {
						o.ask(cl)
						s, err := b.Take(pctx, quota.Ask{Owner: name, MaxWait: 1000 * time.Hour, Priority: prio})
						o.got(cl, err == nil)
						if err != nil {
							if pctx.Err() == nil {
								t.Error(err)
							}
							return
						}
						s.Sent()
						time.Sleep(c.way())
						o.w.arrive()
						s.Done(true)
					}
				})
			}
		}
	}
	wg.Wait()
	return o
}

// check holds the crowd to the promise: no refusal, the quota used, and nobody waits for more than twice the even share, in time and in slots that others
// have meanwhile. coarse allows for a window more: where there are about as many slots in a window as clients, and it opens all at once, who was
// first in one and is last in the next has been treated fairly.
func (o *outcome) check(t interface {
	Errorf(string, ...any)
	Logf(string, ...any)
}, c crowd, share float64, coarse bool,
) {
	if o.w.refused > 0 {
		t.Errorf("%d refusals", o.w.refused)
	}
	clients := 0
	for _, cs := range c.atOnce {
		clients += len(cs)
	}
	even := time.Duration(float64(clients) / float64(c.limit.N) * float64(c.limit.Window))
	slots, wait := 0, time.Duration(0)
	for name, cl := range o.clients {
		if cl.most > 2*(clients+btoi(coarse)*c.limit.N) {
			t.Errorf("%s waited for a slot while others had %d", name, cl.most)
		}
		slots, wait = max(slots, cl.most), max(wait, cl.longest)
	}
	n := len(o.w.counted)
	used := float64(o.w.minimum(n)) / float64(o.w.last.Sub(o.w.first))
	t.Logf("%d clients: longest wait %v, or %d slots of others (the even share is one in %v); %.1f %% used", clients, wait, slots, even, 100*used)
	most := 2 * even
	if coarse {
		most += c.limit.Window
	}
	if wait > most+most/20 {
		t.Errorf("somebody waited for %v, the even share is one in %v", wait, even)
	}
	if used < share {
		t.Errorf("%.1f %% of the quota used", 100*used)
	}
}

func few(n, each int) []int { return slices.Repeat([]int{each}, n) }

// 50 clients on one bucket, spread unevenly over processes: nobody waits for more than twice the even share, whoever they share a process with and however
// much the others ask for.
func TestFairBetweenClients(t *testing.T) {
	greedy := few(49, 1)
	greedy[0], greedy[7] = 64, 200
	for name, atOnce := range map[string][][]int{
		"1 process":                    {few(50, 2)},
		"1 process, some greedy":       {append(slices.Clone(greedy), 1)},
		"49+1":                         {few(49, 1), few(1, 1)},
		"49+1, the one greedy":         {few(49, 1), few(1, 100)},
		"49+1, some greedy":            {greedy, few(1, 1)},
		"40+7+2+1":                     {few(40, 1), few(7, 3), few(2, 50), few(1, 1)},
		"8 processes":                  {few(22, 1), few(10, 2), few(6, 64), few(4, 1), few(3, 2), few(2, 2), few(2, 64), few(1, 1)},
		"8 processes, one dies":        {few(22, 1), few(10, 2), few(6, 64), few(4, 1), few(3, 2), few(2, 2), few(2, 64), few(1, 1)},
		"8 processes, most of it dies": {few(22, 1), few(10, 2), few(6, 64), few(4, 1), few(3, 2), few(2, 2), few(2, 64), few(1, 1)},
	} {
		for _, l := range []quota.Limit{{N: 10, Window: time.Minute}, {N: 100, Window: 15 * time.Second}} {
			t.Run(name+" "+l.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := crowd{limit: l, atOnce: atOnce, ledger: quotatest.NewMemory(), lasts: 100 * l.Window, way: steady}
					if l.N == 100 {
						c.lasts = 40 * l.Window
					}
					switch name {
					case "8 processes, one dies":
						c.dies = map[int]time.Duration{2: c.lasts / 2}
					case "8 processes, most of it dies":
						c.dies = map[int]time.Duration{0: c.lasts / 3, 2: c.lasts / 2, 6: c.lasts/2 + time.Second}
					}
					c.run(t).check(t, c, 0.97, l.N > 50)
				})
			})
		}
	}
}

// However clients are spread, with a slow database and an uneven network.
func TestFairHoweverSpread(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := quota.Limit{N: rapid.IntRange(1, 40).Draw(rt, "n"), Window: time.Duration(rapid.IntRange(4, 90).Draw(rt, "seconds")) * time.Second}
		c := crowd{limit: l, dies: map[int]time.Duration{}}
		clients := 0
		for p := range rapid.IntRange(1, 8).Draw(rt, "processes") {
			n := rapid.IntRange(1, 12).Draw(rt, "clients")
			each := make([]int, n)
			for i := range each {
				each[i] = rapid.SampledFrom([]int{1, 1, 1, 2, 8}).Draw(rt, "at once")
			}
			c.atOnce = append(c.atOnce, each)
			clients += n
			if p > 0 && rapid.IntRange(0, 9).Draw(rt, "dies") == 0 {
				c.dies[p] = time.Duration(rapid.Int64Range(0, int64(8*l.Window)).Draw(rt, "at"))
			}
		}
		c.lasts = max(time.Duration(6*clients/l.N), 10) * l.Window
		commit := time.Duration(rapid.Int64Range(1, int64(min(l.Window/400, 30*time.Millisecond))).Draw(rt, "commit"))
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			rng := rand.New(rand.NewPCG(seed, 2))
			upTo := func(d time.Duration) func() time.Duration {
				return func() time.Duration { mu.Lock(); defer mu.Unlock(); return time.Duration(rng.Int64N(int64(d))) }
			}
			c.ledger = slowLedger{quotatest.NewMemory(), upTo(commit), upTo(commit)}
			c.way = upTo(10 * time.Millisecond)
			o := c.run(t)
			time.Sleep(time.Minute)
			o.check(rt, c, 0.90, true)
		})
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
