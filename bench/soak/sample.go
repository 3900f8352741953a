package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is what the service held at one moment.
type sample struct {
	at         time.Duration
	resident   int64 // bytes
	heap       int64 // bytes in use
	goroutines int64
	files      int64
	database   int64 // bytes
	runs       int64 // ended so far
}

const header = "   time   resident       heap  goroutines  files   database      runs"

func (x sample) String() string {
	return fmt.Sprintf("%7s %6.1f MiB %6.1f MiB %11d %6d %6.1f MiB %9d", x.at.Round(time.Second), mib(x.resident), mib(x.heap), x.goroutines, x.files, mib(x.database), x.runs)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// look asks the process's own metrics, the system and the database.
func (s *soak) look(ctx context.Context, pid int, at time.Duration) (x sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	x.at = at
	m, err := s.metrics(ctx)
	if err != nil {
		return x, err
	}
	x.heap, x.goroutines, x.runs = int64(m["go_memstats_heap_inuse_bytes"]), int64(m["go_goroutines"]), int64(m["adsync_runs_total"])
	x.resident, x.files = int64(m["process_resident_memory_bytes"]), int64(m["process_open_fds"])
	if entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		x.files = int64(len(entries))
	}
	if x.resident == 0 || x.goroutines == 0 {
		return x, errors.New("the service's metrics do not say what it holds")
	}
	x.database, err = s.size(ctx)
	return x, err
}

// metrics reads /metrics: the sum over all labels of each name.
func (s *soak) metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 64<<20))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		end := strings.LastIndexByte(line, ' ')
		if end < 0 || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line[:end], "{")
		if v, err := strconv.ParseFloat(line[end+1:], 64); err == nil {
			out[name] += v
		}
	}
	return out, lines.Err()
}

// Growth that is taken for noise: a share, and on top of it what a few more of everything may hold.
const share = 0.10

var kinds = []struct {
	name  string
	of    func(sample) int64
	slack int64
	unit  string
	scale float64
}{
	{"resident memory", func(x sample) int64 { return x.resident }, 8 << 20, "MiB", 1 << 20},
	{"goroutines", func(x sample) int64 { return x.goroutines }, 20, "", 1},
	{"open files", func(x sample) int64 { return x.files }, 20, "", 1},
}

// judge compares the second quarter with the last one: by then all is warm, and what leaks shows.
func judge(samples []sample) error {
	if len(samples) < 16 {
		return fmt.Errorf("%d looks are too few to tell anything: 16 are needed", len(samples))
	}
	q := len(samples) / 4
	fmt.Println()
	var errs []error
	for _, k := range kinds {
		early, late := median(samples[q:2*q], k.of), median(samples[len(samples)-q:], k.of)
		peak := slices.MaxFunc(samples, func(a, b sample) int { return cmp.Compare(k.of(a), k.of(b)) })
		fmt.Printf("%-16s %8.1f %s in the second quarter, %.1f in the last: %+.1f %%; highest %.1f, after %s\n",
			k.name, float64(early)/k.scale, k.unit, float64(late)/k.scale, 100*(float64(late)/float64(early)-1), float64(k.of(peak))/k.scale, peak.at.Round(time.Second))
		if float64(late) > float64(early)*(1+share)+float64(k.slack) {
			errs = append(errs, fmt.Errorf("%s grow: %d, then %d", k.name, early, late))
		}
	}
	first, last := samples[q], samples[len(samples)-1]
	if runs := last.runs - first.runs; runs > 0 {
		fmt.Printf("%-16s %8.1f MiB, %d bytes a run since\n", "database", mib(last.database), (last.database-first.database)/runs)
	}
	return errors.Join(errs...)
}

func median(samples []sample, of func(sample) int64) int64 {
	vs := make([]int64, len(samples))
	for i, x := range samples {
		vs[i] = of(x)
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}

// drawing shows the curves, each in a strip of its own from zero to its peak.
func drawing(samples []sample) string {
	const width, height, left, gap = 760, 90, 130, 26
	curves := []struct {
		name, unit string
		of         func(sample) float64
	}{
		{"resident", "MiB", func(x sample) float64 { return mib(x.resident) }},
		{"heap", "MiB", func(x sample) float64 { return mib(x.heap) }},
		{"goroutines", "", func(x sample) float64 { return float64(x.goroutines) }},
		{"open files", "", func(x sample) float64 { return float64(x.files) }},
		{"database", "MiB", func(x sample) float64 { return mib(x.database) }},
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", left+width+20, len(curves)*(height+gap)+30)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	end := samples[len(samples)-1].at
	for i, c := range curves {
		top, peak := i*(height+gap)+15, 0.0
		for _, x := range samples {
			peak = max(peak, c.of(x))
		}
		fmt.Fprintf(&b, `<text x="8" y="%d">%s</text><text x="8" y="%d" fill="#666">peak %.0f %s</text>`+"\n", top+height/2, c.name, top+height/2+18, peak, c.unit)
		fmt.Fprintf(&b, `<path d="M%d %dh%d" stroke="#ccc"/><polyline fill="none" stroke="#1565c0" stroke-width="1.5" points="`, left, top+height, width)
		for _, x := range samples {
			fmt.Fprintf(&b, "%.1f,%.1f ", left+width*float64(x.at)/float64(end), float64(top+height)-height*c.of(x)/max(peak, 1))
		}
		b.WriteString("\"/>\n")
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#666">0</text><text x="%d" y="%d" fill="#666" text-anchor="end">%s</text></svg>`+"\n",
		left, len(curves)*(height+gap)+20, left+width, len(curves)*(height+gap)+20, end.Round(time.Second))
	return b.String()
}
