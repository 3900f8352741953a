// Command ledger measures what it costs to keep large quotas in a database: grants per second against the quota's own arithmetic, and against the same
// load on a ledger in memory, in the same run; transactions for each grant; how long a slot is waited for while the window has room.
//
//	go run ./bench/ledger
//	go run ./bench/ledger -limits 60000/1m -long -db postgres -processes 4
//
// Each process is a real one with a store of its own. The load is a number of requests in flight that take a fixed time each and are repeated without a
// break. Where the window is short it is full nearly all the time, and the quota decides; where it is long the run ends before it is full, and the
// ledger does (-long waits for the window to be full and measures then). All arrivals of all processes are put together in the end: more of them in any
// window than the limit allows is an error.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/quota"
)

func main() {
	var o options
	limits := flag.String("limits", "1000/1s,60000/1m", "quotas, comma-separated")
	dbs := flag.String("db", "sqlite,postgres", "databases, comma-separated")
	inFlight := flag.String("inflight", "64,256", "requests in flight, all processes together")
	processes := flag.String("processes", "1,4", "processes")
	flag.DurationVar(&o.work, "work", 20*time.Millisecond, "how long a request takes")
	flag.DurationVar(&o.measure, "measure", 8*time.Second, "how long to measure")
	flag.BoolVar(&o.alone, "alone", false, "all requests of a process are one owner's; otherwise each has its own")
	flag.BoolVar(&o.long, "long", false, "wait for long windows to be full, and measure two of them")
	child := flag.Bool("child", false, "one of the processes; told what to do on standard input")
	flag.Parse()
	var err error
	if *child {
		err = runChild(os.Stdin, os.Stdout)
	} else {
		for _, s := range strings.Split(*limits, ",") {
			var l quota.Limit
			if l, err = quota.ParseLimit(s); err != nil {
				break
			}
			o.limits = append(o.limits, l)
		}
		o.dbs = strings.Split(*dbs, ",")
		if err == nil {
			o.inFlight, err = numbers(*inFlight)
		}
		if err == nil {
			o.processes, err = numbers(*processes)
		}
		if err == nil {
			err = o.run(context.Background())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func numbers(s string) (out []int, err error) {
	for _, p := range strings.Split(s, ",") {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 10_000 {
			return nil, fmt.Errorf("%q is not a number from 1 to 10000", p)
		}
		out = append(out, n)
	}
	return out, nil
}

type options struct {
	limits              []quota.Limit
	dbs                 []string
	inFlight, processes []int
	work, measure       time.Duration
	long, alone         bool
}

// plan is when to measure: after lead, for span.
func (o *options) plan(l quota.Limit, inFlight int) (lead, span time.Duration, full bool) {
	switch {
	case l.Window <= o.measure/4:
		return 2 * l.Window, o.measure.Truncate(l.Window), true
	case o.long:
		return l.Window * 3 / 2, 2 * l.Window, true
	}
	// At most nine tenths of the window's requests.
	fastest := float64(inFlight) / o.work.Seconds()
	return 500 * time.Millisecond, min(o.measure, time.Duration(0.9*float64(l.N)/fastest*float64(time.Second))) - 500*time.Millisecond, false
}

func (o *options) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "adsync-ledger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var server *pgtest.Server
	if slices.Contains(o.dbs, "postgres") {
		if server, err = pgtest.Start(ctx, pgtest.Options{Durable: true}); err != nil {
			return err
		}
		defer server.Stop()
	}
	fmt.Println("| quota | in flight | ledger | processes | grants/s | of the quota | of memory's | transactions per grant | writes per grant | take p50 | take p99 | most in a window |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|")
	failed := false
	for _, l := range o.limits {
		for _, n := range o.inFlight {
			lead, span, full := o.plan(l, n)
			base := 0.0
			type setup struct {
				db        string
				processes int
			}
			setups := []setup{{"memory", 1}}
			for _, db := range o.dbs {
				for _, p := range o.processes {
					setups = append(setups, setup{db, p})
				}
			}
			for i, s := range setups {
				dsn := ""
				switch s.db {
				case "sqlite":
					dsn = fmt.Sprintf("sqlite:%s/%d-%d-%d.db", dir, l.N, n, i)
				case "postgres":
					var drop func(context.Context) error
					if dsn, drop, err = server.Create(ctx); err != nil {
						return err
					}
					defer func() { _ = drop(ctx) }()
				}
				r, err := measure(s.processes, task{DSN: dsn, Limit: l, InFlight: n, Work: o.work, Run: lead + span, Alone: o.alone})
				if err != nil {
					return err
				}
				rate := r.rate(lead, lead+span, l, full)
				if s.db == "memory" {
					base = rate
				}
				quotaShare := "-"
				if full {
					quotaShare = fmt.Sprintf("%.1f %%", 100*rate/(float64(l.N)/l.Window.Seconds()))
				}
				most := r.most(l)
				if most > l.N {
					failed = true
				}
				grants := float64(len(r.arrivals))
				fmt.Printf("| %s | %d | %s | %d | %.0f | %s | %.1f %% | %.3f | %.3f | %s | %s | %d |\n", l, n, s.db, s.processes, rate, quotaShare, 100*rate/base,
					float64(r.looks)/grants, float64(r.writes)/grants, r.quantile(0.5), r.quantile(0.99), most)
			}
		}
	}
	if failed {
		return errors.New("a quota was exceeded")
	}
	return nil
}

// result is what all processes of one setup did.
type result struct {
	begin         int64   // µs
	arrivals      []int64 // µs, in order
	takes         []int64 // µs each, those that were not told to wait
	looks, writes int64
}

func measure(processes int, t task) (*result, error) {
	var children []*exec.Cmd
	defer func() {
		for _, c := range children {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	var ins []io.WriteCloser
	var outs []*json.Decoder
	for i := range processes {
		share := t
		share.InFlight = t.InFlight/processes + btoi(i < t.InFlight%processes)
		c := exec.Command(os.Args[0], "-child")
		c.Stderr = os.Stderr
		in, err := c.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := c.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := c.Start(); err != nil {
			return nil, err
		}
		children, ins, outs = append(children, c), append(ins, in), append(outs, json.NewDecoder(out))
		if err := json.NewEncoder(in).Encode(share); err != nil {
			return nil, err
		}
		var ready string
		if err := outs[i].Decode(&ready); err != nil || ready != "ready" {
			return nil, fmt.Errorf("a process could not begin: %q, %w", ready, err)
		}
	}
	r := &result{begin: time.Now().UnixMicro()}
	for _, in := range ins {
		if _, err := io.WriteString(in, "\"go\"\n"); err != nil {
			return nil, err
		}
	}
	for _, out := range outs {
		var one figures
		if err := out.Decode(&one); err != nil {
			return nil, fmt.Errorf("a process failed: %w", err)
		}
		if one.Error != "" {
			return nil, errors.New(one.Error)
		}
		r.arrivals, r.takes = append(r.arrivals, one.Arrivals...), append(r.takes, one.Takes...)
		r.looks, r.writes = r.looks+one.Looks, r.writes+one.Writes
	}
	slices.Sort(r.arrivals)
	slices.Sort(r.takes)
	return r, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rate is the number of arrivals a second in a part of the run. Where the quota decides they come in bursts: then it is how long as many arrivals as whole
// windows hold took, from each of a window's arrivals on, and the mean of that.
func (r *result) rate(from, to time.Duration, l quota.Limit, full bool) float64 {
	at := func(d time.Duration) int {
		i, _ := slices.BinarySearchFunc(r.arrivals, r.begin+d.Microseconds(), cmp.Compare[int64])
		return i
	}
	first, end := at(from), at(to)
	windows := (end-first)/l.N - 1
	if !full || windows < 1 {
		return float64(end-first) / (to - from).Seconds()
	}
	sum := 0.0
	for i := first; i < first+l.N; i++ {
		sum += float64(r.arrivals[i+windows*l.N]-r.arrivals[i]) / 1e6
	}
	return float64(windows*l.N*l.N) / sum
}

// most is the largest number of arrivals in any window.
func (r *result) most(l quota.Limit) (most int) {
	first := 0
	for i, at := range r.arrivals {
		for at-r.arrivals[first] >= l.Window.Microseconds() {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func (r *result) quantile(q float64) time.Duration {
	if len(r.takes) == 0 {
		return 0
	}
	return time.Duration(r.takes[min(int(q*float64(len(r.takes))), len(r.takes)-1)]) * time.Microsecond
}
