package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"adsync/internal/simulator/googleads"
	"adsync/internal/simulator/meta"
)

// platform is a simulator that runs, or the way to it.
type platform struct {
	name, url string
	stop      func()
}

// at is the same platform by another way.
func (p platform) at(url string) platform { p.url = url; return p }

// simulate starts a simulator that refuses nothing and makes reports at once.
func (b *bench) simulate(ctx context.Context, name string, accounts int) (platform, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return platform{}, err
	}
	addr := l.Addr().String()
	l.Close()
	args := []string{
		"simulate", "--platform", name, "--listen", addr, "--quiet", "--accounts", strconv.Itoa(accounts), "--campaigns", strconv.Itoa(b.o.campaigns),
		"--ad-groups", strconv.Itoa(b.o.adGroups), "--ads", strconv.Itoa(b.o.ads), "--days", strconv.Itoa(b.o.days),
	}
	switch name {
	case "meta":
		args = append(args, "--tier", "none", "--job-time", "0s")
	case "google_ads":
		args = append(args, "--access", "none")
	default:
		return platform{}, errors.New("want meta or google_ads")
	}
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return platform{}, err
	}
	p := platform{name: name, url: "http://" + addr, stop: func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }}
	for range 100 {
		if r, err := http.Get(p.url + "/__stats"); err == nil {
			r.Body.Close()
			return p, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.stop()
	return platform{}, errors.New("the simulator did not start")
}

// measured is what a run took, seen from outside.
type measured struct {
	took, cpu time.Duration
	peakKiB   int64
}

// fresh names a SQLite database that is not there yet.
func (b *bench) fresh() string {
	b.made++
	return "sqlite:" + filepath.Join(b.dir, fmt.Sprintf("ads-%d.db", b.made))
}

// database makes an empty one.
func (b *bench) database(ctx context.Context, kind string) (dsn string, drop func(), err error) {
	if kind == "sqlite" {
		dsn = b.fresh()
		file := strings.TrimPrefix(dsn, "sqlite:")
		return dsn, func() {
			if !b.o.keep {
				for _, end := range []string{"", "-wal", "-shm"} {
					_ = os.Remove(file + end)
				}
			}
		}, nil
	}
	dsn, end, err := b.pg.Create(ctx)
	return dsn, func() { _ = end(context.WithoutCancel(ctx)) }, err
}

// sync runs adsync once.
func (b *bench) sync(ctx context.Context, p platform, kind, dsn string) (measured, error) {
	own := fmt.Sprintf("credentials: {access_token: \"${META_TOKEN}\", app_secret: \"${META_SECRET}\"}\n        app_id: %q\n", meta.DefaultAppID)
	if p.name == "google_ads" {
		own = fmt.Sprintf("oauth_url: %s\n        credentials: {client_id: \"${G_ID}\", client_secret: \"${G_SECRET}\", refresh_token: \"${G_REFRESH}\"}\n", p.url)
	}
	text := fmt.Sprintf("database: %q\nclients:\n  - id: agency\n    connections:\n      - platform: %s\n        url: %s\n        %s        levels: [account, campaign, ad_group]\n        since: %dd\n",
		dsn, p.name, p.url, own, b.o.days)
	file := filepath.Join(b.dir, "adsync.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return measured{}, err
	}
	args := []string{"sync", "--config", file, "--json", "--quiet"}
	if kind == "postgres" {
		args = append(args, "--migrate")
	}
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "META_TOKEN="+meta.DefaultToken, "META_SECRET="+meta.DefaultAppSecret,
		"G_ID="+googleads.DefaultClientID, "G_SECRET="+googleads.DefaultClientSecret, "G_REFRESH="+googleads.DefaultRefreshToken)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return measured{}, err
	}
	done, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- watchPeak(cmd.Process.Pid, done) }()
	err := cmd.Wait()
	m := measured{took: time.Since(begin)}
	close(done)
	m.peakKiB = <-peak
	if err != nil {
		return m, fmt.Errorf("%w\n%s%s", err, out.String(), errs.String())
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	m.cpu = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return m, nil
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
