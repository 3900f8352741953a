// Command accounts measures runs over many ad accounts without quotas: listings and daily figures of Meta and Google Ads from their simulators, each as a
// ratio to what a plain loop needs that downloads the very same answers, with as many requests at once and without reading them.
//
//	go run ./bench/accounts -accounts 10,50,200 -platforms meta,google_ads -db sqlite
//
// The simulator is a process of its own, and so is adsync. What a run asked is recorded and asked again by the loop, in the same order of each account.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/simulator/googleads"
	"adsync/internal/simulator/meta"
)

func main() {
	accounts := flag.String("accounts", "10,50,200", "how many accounts, comma-separated")
	platforms := flag.String("platforms", "meta,google_ads", "platforms, comma-separated")
	database := flag.String("db", "sqlite", "sqlite or postgres")
	campaigns := flag.Int("campaigns", 20, "campaigns per account, with two ad groups of two ads each")
	rounds := flag.Int("rounds", 3, "runs of each; the median is told")
	serve := flag.String("serve", "", "internal: be the simulator of this platform")
	n := flag.Int("n", 0, "internal: its accounts")
	flag.Parse()
	err := func() error {
		if *serve != "" {
			return simulate(*serve, *n, *campaigns)
		}
		return run(strings.Split(*accounts, ","), strings.Split(*platforms, ","), *database, *campaigns, *rounds)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "accounts:", err)
		os.Exit(1)
	}
}

// call is one request as it came.
type call struct {
	Method, URL string
	Header      http.Header
	Body        []byte
}

// simulate is the platform, which remembers what it is asked once /record was.
func simulate(platform string, accounts, campaigns int) error {
	var handler http.Handler
	var err error
	if platform == "meta" {
		c := meta.Default()
		c.Accounts, c.Campaigns, c.Tier, c.JobTime = accounts, campaigns, "none", time.Nanosecond
		handler, err = meta.New(c)
	} else {
		c := googleads.Default()
		c.Accounts, c.Campaigns, c.Access = accounts, campaigns, "standard"
		handler, err = googleads.New(c)
	}
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var calls []call
	recording := false
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + ln.Addr().String())
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/record":
			mu.Lock()
			recording, calls = true, nil
			mu.Unlock()
			return
		case "/recorded":
			mu.Lock()
			recording = false
			_ = json.NewEncoder(w).Encode(calls)
			mu.Unlock()
			return
		}
		mu.Lock()
		on := recording
		mu.Unlock()
		if on {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			mu.Lock()
			calls = append(calls, call{r.Method, r.URL.String(), r.Header.Clone(), body})
			mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	}))
}

type bench struct {
	dir, program, database string
	campaigns              int
}

func run(accounts, platforms []string, database string, campaigns, rounds int) error {
	dir, err := os.MkdirTemp("", "adsync-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, program: filepath.Join(dir, "adsync"), campaigns: campaigns}
	build := exec.Command("go", "build", "-o", b.program, "adsync/cmd/adsync")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if database == "postgres" {
		s, err := pgtest.Shared()
		if err != nil {
			return err
		}
		defer s.Stop()
		b.database = s.URL("postgres")
	}
	fmt.Printf("%-11s %9s %10s %12s %10s %10s %7s %10s\n", "platform", "accounts", "requests", "MiB", "loop", "adsync", "ratio", "peak MiB")
	for _, p := range platforms {
		for _, a := range accounts {
			n, err := strconv.Atoi(a)
			if err != nil {
				return err
			}
			if err := b.one(p, n, rounds); err != nil {
				return fmt.Errorf("%s, %d accounts: %w", p, n, err)
			}
		}
	}
	return nil
}

func (b *bench) one(platform string, accounts, rounds int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	sim := exec.Command(self, "-serve", platform, "-n", strconv.Itoa(accounts), "-campaigns", strconv.Itoa(b.campaigns))
	sim.Stderr = os.Stderr
	out, err := sim.StdoutPipe()
	if err != nil {
		return err
	}
	if err := sim.Start(); err != nil {
		return err
	}
	defer func() { _ = sim.Process.Kill(); _ = sim.Wait() }()
	var url string
	if _, err := fmt.Fscanln(out, &url); err != nil {
		return err
	}
	if _, _, err := b.sync(platform, url, 0); err != nil { // warm
		return err
	}
	if err := get(url+"/record", nil); err != nil {
		return err
	}
	if _, _, err := b.sync(platform, url, 1); err != nil {
		return err
	}
	var calls []call
	if err := get(url+"/recorded", &calls); err != nil {
		return err
	}
	type round struct {
		loop, took time.Duration
		peak       int64
	}
	var all []round
	var size int64
	for i := range rounds {
		var r round
		if r.took, r.peak, err = b.sync(platform, url, 2+i); err != nil {
			return err
		}
		if r.loop, size, err = loop(url, calls); err != nil {
			return err
		}
		all = append(all, r)
	}
	mid := all[0]
	for _, r := range all { // the median by ratio
		below := 0
		for _, s := range all {
			if float64(s.took)/float64(s.loop) < float64(r.took)/float64(r.loop) {
				below++
			}
		}
		if below == len(all)/2 {
			mid = r
		}
	}
	fmt.Printf("%-11s %9d %10d %12.1f %10s %10s %7.2f %10.1f\n", platform, accounts, len(calls), float64(size)/(1<<20), mid.loop.Round(time.Millisecond), mid.took.Round(time.Millisecond), float64(mid.took)/float64(mid.loop), float64(mid.peak)/1024)
	return nil
}

const atOnce = 8 // accounts that adsync reads side by side

// loop asks for the same things again, each account's in their order, and reads nothing of the answers.
func loop(base string, calls []call) (time.Duration, int64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: atOnce, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	begin := time.Now()
	next := make(chan call)
	var mu sync.Mutex
	var size int64
	var failed error
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for c := range next {
				n, err := func() (int64, error) {
					r, err := http.NewRequest(c.Method, base+c.URL, bytes.NewReader(c.Body))
					if err != nil {
						return 0, err
					}
					r.Header = c.Header
					resp, err := client.Do(r)
					if err != nil {
						return 0, err
					}
					defer resp.Body.Close()
					return io.Copy(io.Discard, resp.Body)
				}()
				mu.Lock()
				size += n
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	for _, c := range calls {
		next <- c
	}
	close(next)
	wg.Wait()
	return time.Since(begin), size, failed
}

func get(url string, into any) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// sync is a run of the real binary into an empty database.
func (b *bench) sync(platform, url string, round int) (took time.Duration, peakKiB int64, err error) {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	database := "sqlite:ads.db"
	var more []string
	if b.database != "" {
		s, err := pgtest.Shared()
		if err != nil {
			return 0, 0, err
		}
		schema := fmt.Sprintf("r%d_%d", time.Now().UnixNano(), round)
		if err := s.Exec(context.Background(), "CREATE SCHEMA "+schema); err != nil {
			return 0, 0, err
		}
		database, more = b.database+"?search_path="+schema, []string{"--migrate"}
		if strings.Contains(b.database, "?") {
			database = b.database + "&search_path=" + schema
		}
	}
	config := fmt.Sprintf("database: %q\nclients:\n  - id: acme\n    connections:\n      - platform: %s\n        url: %s\n        levels: [account, campaign, ad_group]\n        since: 30d\n", database, platform, url)
	if platform == "meta" {
		config += "        exchange_token: false\n        credentials: {access_token: \"${TOKEN}\"}\n"
	} else {
		config += "        oauth_url: " + url + "\n        credentials: {client_id: \"${ID}\", client_secret: \"${SECRET}\", refresh_token: \"${REFRESH}\"}\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "adsync.yaml"), []byte(config), 0o600); err != nil {
		return 0, 0, err
	}
	cmd := exec.Command(b.program, append([]string{"sync", "--quiet", "--log-level", "error"}, more...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TOKEN="+meta.DefaultToken, "ID="+googleads.DefaultClientID, "SECRET="+googleads.DefaultClientSecret, "REFRESH="+googleads.DefaultRefreshToken)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("%w\n%s", err, said.String())
	}
	took = time.Since(begin)
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		peakKiB = u.Maxrss
	}
	return took, peakKiB, nil
}
