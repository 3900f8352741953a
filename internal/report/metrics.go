package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"adsync/internal/ads"
)

// LastSuccess is when each connection was last complete, as the database knows it.
type LastSuccess map[ads.Ref]time.Time

// Metrics is the summary in the text format of Prometheus, about the last run of each connection. Labels are client, connection, platform and
// outcome, never anything that a platform made up.
func (s Summary) Metrics(last LastSuccess) []byte {
	var b strings.Builder
	labels := make([]string, len(s.Connections))
	for i, c := range s.Connections {
		labels[i] = fmt.Sprintf(`client="%s",connection="%s",platform="%s"`, label(c.Client), label(c.Connection), label(c.Platform))
	}
	family := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	gauge := func(name, help string, value func(ConnectionSummary) float64) {
		family(name, "gauge", help)
		for i, c := range s.Connections {
			fmt.Fprintf(&b, "%s{%s} %s\n", name, labels[i], strconv.FormatFloat(value(c), 'f', -1, 64))
		}
	}
	family("adsync_runs", "gauge", "Runs of the last sync, by how they ended.")
	for i, c := range s.Connections {
		for _, o := range []ads.Outcome{ads.Complete, ads.Partial, ads.Failed, ads.Interrupted} {
			n := 0
			if c.Outcome == o {
				n = 1
			}
			fmt.Fprintf(&b, "adsync_runs{%s,outcome=\"%s\"} %d\n", labels[i], o, n)
		}
	}
	gauge("adsync_listed", "Records that the platform listed.", func(c ConnectionSummary) float64 { return float64(c.Listed) })
	gauge("adsync_synced", "Records brought in step.", func(c ConnectionSummary) float64 { return float64(c.Synced) })
	gauge("adsync_unchanged", "Records brought in step that had not changed.", func(c ConnectionSummary) float64 { return float64(c.Unchanged) })
	gauge("adsync_failed", "Records that failed and are kept for retry.", func(c ConnectionSummary) float64 { return float64(c.Failed) })
	gauge("adsync_removed", "Records marked as removed.", func(c ConnectionSummary) float64 { return float64(c.Removed) })
	gauge("adsync_pages", "Pages listed.", func(c ConnectionSummary) float64 { return float64(c.Pages) })
	gauge("adsync_requests", "Requests sent, token requests apart.", func(c ConnectionSummary) float64 { return float64(c.Requests) })
	gauge("adsync_throttled", "Answers that refused for quota.", func(c ConnectionSummary) float64 { return float64(c.Throttled) })
	gauge("adsync_retries", "Requests sent again, quota refusals apart.", func(c ConnectionSummary) float64 { return float64(c.Retries) })
	gauge("adsync_waited_seconds", "Time during which a quota or the server made requests wait.",
		func(c ConnectionSummary) float64 { return time.Duration(c.Waited).Seconds() })
	gauge("adsync_duration_seconds", "Duration of the run over all its lives.",
		func(c ConnectionSummary) float64 { return time.Duration(c.Duration).Seconds() })
	family("adsync_last_success_timestamp_seconds", "gauge", "When the connection was last complete.")
	for i, c := range s.Connections {
		if at := last[ads.Ref{ClientID: c.Client, Connection: c.Connection}]; !at.IsZero() {
			fmt.Fprintf(&b, "adsync_last_success_timestamp_seconds{%s} %s\n", labels[i], strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64))
		}
	}
	return []byte(b.String())
}

// label escapes a label's value.
func label(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(ads.Text(s))
}

// WriteFile puts content into a file at once: a reader finds the old or the new one whole, never a part.
func WriteFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
