// Command throughput measures whole runs of adsync without a quota: campaigns from a simulator on loopback into SQLite and PostgreSQL, first load and
// re-sync, each as a ratio to a limit measured in the same run.
//
//	go run ./bench/throughput -n 1000000 -db sqlite,postgres
//
//	go run ./bench/throughput -observed -n 200000
//
// The limits: for SQLite a bare bulk upsert of the same rows by the same driver; for PostgreSQL psql doing COPY into a temporary table and one upsert of
// the same rows. Neither fetches nor decodes anything.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
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
	"syscall"
	"time"

	_ "modernc.org/sqlite"

	"adsync/internal/pgtest"
)

func main() {
	n := flag.Int("n", 100_000, "campaigns")
	dbs := flag.String("db", "sqlite,postgres", "databases, comma-separated")
	page := flag.Int("page", 500, "page size")
	keep := flag.Bool("keep", false, "keep the working directory")
	observed := flag.Bool("observed", false, "instead: what logs, metrics and live state cost, in pairs of runs with and without them")
	pairs := flag.Int("pairs", 9, "pairs of runs with -observed")
	flag.Parse()
	if !*observed {
		*pairs = 0
	}
	if err := run(*n, *page, strings.Split(*dbs, ","), *keep, max(*pairs, 0)); err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		os.Exit(1)
	}
}

type bench struct {
	n, page int
	dir     string
	program string
	url     string
	rows    [][]any
	peakKiB int64
}

func run(n, page int, dbs []string, keep bool, pairs int) error {
	dir, err := os.MkdirTemp("", "adsync-bench-")
	if err != nil {
		return err
	}
	if keep {
		fmt.Println("working in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	b := &bench{n: n, page: page, dir: dir, program: filepath.Join(dir, "adsync")}
	build := exec.Command("go", "build", "-o", b.program, "adsync/cmd/adsync")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if pairs > 0 {
		return b.observed(pairs)
	}
	stop, err := b.simulate()
	if err != nil {
		return err
	}
	defer stop()
	begin := time.Now()
	size, err := b.download()
	if err != nil {
		return err
	}
	took := time.Since(begin)
	fmt.Printf("%d campaigns, %d MB; download with one connection: %s records/s\n\n", n, size>>20, rate(n, took))
	fmt.Printf("%-10s %-8s %14s %14s %7s %9s %9s\n", "database", "", "limit rec/s", "adsync rec/s", "ratio", "peak MiB", "cpu s")
	for _, db := range dbs {
		switch db {
		case "sqlite":
			err = b.sqlite()
		case "postgres":
			err = b.postgres()
		default:
			err = fmt.Errorf("unknown database %q", db)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

func rate(n int, d time.Duration) string { return strconv.Itoa(int(float64(n) / d.Seconds())) }

func (b *bench) simulate() (stop func(), err error) {
	b.url, stop, err = b.platform(b.n)
	return stop, err
}

// platform starts a simulator of n campaigns.
func (b *bench) platform(n int) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	l.Close()
	url = "http://" + addr
	cmd := exec.Command(b.program, "simulate", "--listen", addr, "--campaigns", strconv.Itoa(n), "--max-page-size", strconv.Itoa(b.page),
		"--quota", "none", "--fail-rate", "0", "--silence-rate", "0", "--static", "--sync-latency", "0s", "--quiet")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	for range 100 {
		if r, err := http.Get(url + "/health"); err == nil {
			r.Body.Close()
			return url, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("the simulator did not start")
}

// download reads the whole listing with one connection, and keeps the rows for the limits.
func (b *bench) download() (size int64, err error) {
	req, _ := http.NewRequest(http.MethodPost, b.url+"/auth/token", nil)
	req.SetBasicAuth("user@example.com", "change-me-please")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	var tok struct {
		AccessToken string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&tok)
	resp.Body.Close()
	if err != nil {
		return 0, err
	}
	fetch := func(p int) ([]byte, error) {
		req, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/api/campaigns?page=%d&limit=%d", b.url, p, b.page), nil)
		req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	pages := (b.n + b.page - 1) / b.page
	for p := 1; p <= pages; p++ {
		body, err := fetch(p)
		if err != nil {
			return 0, err
		}
		size += int64(len(body))
		var page struct {
			Data []json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return 0, err
		}
		for _, raw := range page.Data {
			var c struct {
				ID, Name, Status string
				Budget           json.Number
				Impressions      int64
				Clicks           int64
				Conversions      json.Number
				CreatedAt        string `json:"created_at"`
			}
			if err := json.Unmarshal(raw, &c); err != nil {
				return 0, err
			}
			f, _ := c.Budget.Float64()
			b.rows = append(b.rows, []any{c.ID, c.Name, c.Status, int64(f * 1e6), c.Impressions, c.Clicks, c.Conversions.String(), c.CreatedAt, string(raw)})
		}
	}
	if len(b.rows) != b.n {
		return 0, fmt.Errorf("%d rows came", len(b.rows))
	}
	return size, nil
}

// sync runs adsync once and measures it from outside.
func (b *bench) sync(database string, more ...string) (time.Duration, *syscall.Rusage, error) {
	cmd := exec.Command(b.program, append([]string{"sync", "--json", "--quiet"}, more...)...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "AD_PLATFORM_API_URL="+b.url, "AD_PLATFORM_EMAIL=user@example.com", "AD_PLATFORM_PASSWORD=change-me-please",
		"AD_PLATFORM_QUOTA=none", "AD_PLATFORM_PER_CAMPAIGN_SYNC=false", "AD_PLATFORM_PAGE_SIZE="+strconv.Itoa(b.page), "DATABASE_URL="+database)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	done := make(chan struct{})
	peak := make(chan int64)
	go func() { peak <- watchPeak(cmd.Process.Pid, done) }()
	err := cmd.Wait()
	took := time.Since(begin)
	close(done)
	b.peakKiB = <-peak
	if err != nil {
		return 0, nil, fmt.Errorf("%w\n%s%s", err, out.String(), errs.String())
	}
	var s struct {
		Connections []struct{ Synced int }
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil || len(s.Connections) != 1 || s.Connections[0].Synced != b.n {
		return 0, nil, fmt.Errorf("not all were synced: %v %s", err, out.String())
	}
	return took, cmd.ProcessState.SysUsage().(*syscall.Rusage), nil
}

// watchPeak reads a process's peak memory while it lives. (What wait4 gives is no use: a child begins with its parent's peak.)
func watchPeak(pid int, done <-chan struct{}) (kib int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return kib
		case <-tick.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
			var v int64
			if _, err := fmt.Sscan(rest, &v); err == nil {
				kib = max(kib, v)
			}
		}
	}
}

func (b *bench) line(db, what string, limit, took time.Duration, u *syscall.Rusage) {
	cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	fmt.Printf("%-10s %-8s %14s %14s %7.2f %9.1f %9.2f\n", db, what, rate(b.n, limit), rate(b.n, took), float64(limit)/float64(took), float64(b.peakKiB)/1024, cpu.Seconds())
}

const columns = `client_id, connection, account_id, id, platform, name, status, platform_status, objective, budget_micros, budget_period, currency,
	impressions, clicks, conversions, created_at, platform_updated_at, first_seen_at, changed_at, synced_at, removed_at, raw`

func table(text, stamp, raw string) string {
	return fmt.Sprintf(`(client_id %[1]s NOT NULL, connection %[1]s NOT NULL, account_id %[1]s NOT NULL, id %[1]s NOT NULL, platform %[1]s NOT NULL, name %[1]s, status %[1]s NOT NULL,
		platform_status %[1]s, objective %[1]s, budget_micros BIGINT, budget_period %[1]s, currency %[1]s, impressions BIGINT, clicks BIGINT, conversions NUMERIC,
		created_at %[2]s, platform_updated_at %[2]s, first_seen_at %[2]s NOT NULL, changed_at %[2]s NOT NULL, synced_at %[2]s NOT NULL, removed_at %[2]s, raw %[3]s,
		PRIMARY KEY (client_id, connection, account_id, id))`, text, stamp, raw)
}

const upsert = ` ON CONFLICT (client_id, connection, account_id, id) DO UPDATE SET platform = excluded.platform, name = excluded.name, status = excluded.status,
	platform_status = excluded.platform_status, objective = excluded.objective, budget_micros = excluded.budget_micros, budget_period = excluded.budget_period,
	currency = excluded.currency, impressions = excluded.impressions, clicks = excluded.clicks, conversions = excluded.conversions, created_at = excluded.created_at,
	platform_updated_at = excluded.platform_updated_at, synced_at = excluded.synced_at, removed_at = excluded.removed_at, raw = excluded.raw`

func (b *bench) sqlite() error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.dir, "limit.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE campaigns " + table("TEXT", "TEXT", "TEXT") + " WITHOUT ROWID"); err != nil {
		return err
	}
	const perStatement, perCommit = 20, 5000
	one := "(" + strings.TrimSuffix(strings.Repeat("?,", 22), ",") + ")"
	statement := "INSERT INTO campaigns (" + columns + ") VALUES " + strings.TrimSuffix(strings.Repeat(one+",", perStatement), ",") + upsert
	bare := func(stamp string) (time.Duration, error) {
		begin := time.Now()
		for at := 0; at < len(b.rows); at += perCommit {
			tx, err := db.Begin()
			if err != nil {
				return 0, err
			}
			st, err := tx.Prepare(statement)
			if err != nil {
				return 0, err
			}
			args := make([]any, 0, 22*perStatement)
			for _, r := range b.rows[at:min(at+perCommit, len(b.rows))] {
				args = append(args, "default", "adplatform", "default", r[0], "adplatform", r[1], r[2], r[2], nil, r[3], nil, nil, r[4], r[5], r[6], r[7], nil, stamp, stamp, stamp, nil, r[8])
				if len(args) == cap(args) {
					if _, err := st.Exec(args...); err != nil {
						return 0, err
					}
					args = args[:0]
				}
			}
			if len(args) > 0 {
				return 0, fmt.Errorf("use a number of campaigns that is a multiple of %d", perStatement)
			}
			if err := tx.Commit(); err != nil {
				return 0, err
			}
		}
		return time.Since(begin), nil
	}
	for i, what := range []string{"first", "re-sync"} {
		limit, err := bare(fmt.Sprintf("2026-11-23T00:00:%02d.000000Z", i))
		if err != nil {
			return err
		}
		took, u, err := b.sync("sqlite:" + filepath.Join(b.dir, "adsync.db"))
		if err != nil {
			return err
		}
		b.line("sqlite", what, limit, took, u)
	}
	return nil
}

func (b *bench) postgres() error {
	ctx := context.Background()
	pg, err := pgtest.Start(ctx, pgtest.Options{})
	if err != nil {
		return err
	}
	defer pg.Stop()
	dsn, drop, err := pg.Create(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = drop(ctx) }()
	file := filepath.Join(b.dir, "rows.csv")
	psql := func(script string) (time.Duration, error) {
		cmd := exec.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn)
		cmd.Stdin = strings.NewReader(script)
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("psql: %w\n%s", err, out)
		}
		return time.Since(begin), nil
	}
	if _, err := psql("CREATE SCHEMA bare; CREATE TABLE bare.campaigns " + table("text", "timestamptz", "json") + ";"); err != nil {
		return err
	}
	for i, what := range []string{"first", "re-sync"} {
		stamp := fmt.Sprintf("2026-11-23T00:00:%02dZ", i)
		if err := b.csv(file, stamp); err != nil {
			return err
		}
		limit, err := psql("BEGIN; CREATE TEMP TABLE stage (LIKE bare.campaigns) ON COMMIT DROP;\n\\copy stage FROM '" + file + "' CSV NULL ''\n" +
			"INSERT INTO bare.campaigns (" + columns + ") SELECT " + columns + " FROM stage" + upsert + "; COMMIT;")
		if err != nil {
			return err
		}
		took, u, err := b.sync(dsn, "--migrate")
		if err != nil {
			return err
		}
		b.line("postgres", what, limit, took, u)
	}
	return nil
}

func (b *bench) csv(file, stamp string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	w := csv.NewWriter(f)
	for _, r := range b.rows {
		rec := []string{
			"default", "adplatform", "default", r[0].(string), "adplatform", r[1].(string), r[2].(string), r[2].(string), "", fmt.Sprint(r[3]), "", "",
			fmt.Sprint(r[4]), fmt.Sprint(r[5]), r[6].(string), r[7].(string), "", stamp, stamp, stamp, "", r[8].(string),
		}
		if err := w.Write(rec); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
