package arch

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the generated part of docs/faults.md anew")

// defence is a line that stands between a fault and the user, and the test that notices when it is gone.
type defence struct {
	fault   int
	file    string // from the root of the module
	line    string // exactly as it stands there, once
	without string // what the file would have in its place
	pkg     string // of the test
	run     string // its -run pattern
}

var defences = []defence{
	{5, "internal/apiclient/auth.go", "if t.refusals++; t.refusals < maxFreshRefusals {", "if t.refusals++; true {", "internal/apiclient", "^TestFreshTokenRefused$"},
	{10, "internal/apiclient/auth.go", "if tok != t.current {", "if false {", "internal/apiclient", "^(TestTokenRace|TestTokenRotatedByOthers)$"},
	{14, "internal/adplatform/parse.go", "return time.Duration(min(secs, century) * float64(time.Second))", "return time.Duration(secs) * time.Second", "internal/adplatform", "^TestParseToken$"},
	{17, "internal/apiclient/obtain.go", "if !printable(got.Value) {", "if false {", "internal/apiclient", "^TestTokenPageFaults$/^fault_17"},
	{23, "internal/retry/retry.go", "d := at.Sub(sentAt(date, now))", "d := at.Sub(now)", "internal/retry", "^TestAfter$/^fault_23"},
	{27, "internal/retry/retry.go", "f = math.Ceil(min(max(f, 0), Longest.Seconds()))", "f = math.Ceil(max(f, 0))", "internal/retry", "^TestAfter$/^fault_27"},
	{29, "internal/adplatform/classify.go", "v.Class, v.NotCounted, v.Wait = ads.ClassThrottled, true, waitOf(f.RetryAfter)", "", "internal/adplatform", "^TestClassify$/^fault_29"},
	{48, "internal/apiclient/attempt.go", "if len(buf) > MaxBody {", "if false {", "internal/apiclient", "^TestPassingFaults$/^fault_48"},
	{49, "internal/apiclient/transport.go", "MaxResponseHeaderBytes: MaxHeader,", "", "internal/apiclient", "^TestHeaderFlood$"},
	{50, "internal/apiclient/transport.go", "IdleConnTimeout:        idle,", "", "internal/apiclient", "^TestIdleConnections$"},
	{51, "internal/apiclient/attempt.go", `case a.status/100 == 3 && a.reply.Header.Get("Location") != "":`, "case false:", "internal/apiclient", "^TestRedirects$"},
	{54, "internal/apiclient/transport.go", "&tls.Config{RootCAs: c.RootCAs,", "&tls.Config{RootCAs: c.RootCAs, InsecureSkipVerify: true,", "internal/apiclient", "^TestTLS$"},
	{55, "internal/apiclient/transport.go", "return errPlain", "return nil", "internal/apiclient", "^TestPlainProxy$"},
	{57, "internal/apiclient/circuit.go", "trip := k.streak >= tripAfter && k.everUp", "trip := false", "internal/apiclient", "^TestOutage$"},
	{61, "internal/adplatform/parse.go", `err = errors.New("something follows the answer")`, "", "internal/adplatform", "^TestParsePageRefuses$"},
	{62, "internal/adplatform/parse.go", "dec.Reset(&dec.src)", "dec.Reset(&dec.src, jsontext.AllowDuplicateNames(true))", "internal/adplatform", "^TestDecodeRecord$/^fault_62"},
	{65, "internal/adplatform/parse.go", `case wrong != "":`, "case false:", "internal/adplatform", "^TestDecodeRecord$/^fault_65"},
	{68, "internal/adplatform/parse.go", `ok := id != "" && len(id) <= maxIDBytes &&`, `ok := id != "" &&`, "internal/adplatform", "^TestDecodeRecord$/^fault_68"},
	{69, "internal/adplatform/adplatform.go", "return url.PathEscape(id)", "_ = url.PathEscape; return id", "internal/adplatform", "^TestFollowEncodesIDs$"},
	{76, "internal/engine/listing.go", "case l.End, l.Slack >= slack:", "case l.End:", "internal/engine", "^TestListingEnds$/^fault_76"},
	{83, "internal/engine/run.go", "if ads.ClassOf(err) == ads.ClassStaleCursor && l.Stale < maxPasses {", "if false {", "internal/engine", "^TestFaults$/^83"},
	{85, "internal/engine/listing.go", "if l.Again+1 < maxPasses && (l.Fell || (l.short() && l.moved())) {", "if false {", "internal/engine", "^TestListingEnds$/^fault_85"},
	{88, "internal/engine/commit.go", "if at := c.find(out, e.ID); at >= 0 {", "if at := c.find(out, e.ID); at > 1<<40 {", "internal/engine", "^TestFaults$/^88"},
	{89, "internal/engine/run.go", "share := MaxRemovedShare", "share := 1.0", "internal/engine", "^TestMostGoneIsRefused$"},
	{90, "internal/apiclient/attempt.go", "req.Body = once{bytes.NewReader(nil)}", "", "internal/apiclient", "^TestNothingIsRepeatedSilently$"},
	{93, "internal/adplatform/parse.go", `if got := plain(a.CampaignID); got != "" && got != id {`, `if got := plain(a.CampaignID); got == "\x00" {`, "internal/adplatform", "^TestParseSync$"},
	{96, "internal/store/sqlite/commit.go", "case seq == c.Seq:", "case false:", "internal/store/sqlite", "^TestStore$/^RepeatedCommit$"},
	{102, "internal/store/sqlite/store.go", "if err := walPresent(abs); err != nil {", "if err := walPresent(abs); false {", "internal/store/sqlite", "^TestFault102LogDeleted$"},
	{103, "internal/store/sqlite/store.go", "if err := s.usable(sc); err != nil {", "if err := s.usable(sc); false {", "internal/store/sqlite", "^TestStore$/^NewerSchema$"},
	{104, "internal/store/sqlite/entities.go", "if err == nil || !aboutData(err) {", "if err == nil || true {", "internal/store/sqlite", "^TestStore$/^Refused$"},
	{113, "internal/store/sqlite/lease.go", "if !gone {", "if !gone && false {", "internal/store/sqlite", "^TestStore$/^Busy$"},
	{123, "internal/store/sqlite/lease.go", "if !ok {", "if !ok && false {", "internal/store/sqlite", "^TestStore$/^Fence$"},
	{134, "internal/config/fromfile.go", "func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }", "func fold(s string) string { return s }", "internal/config", "^TestDuplicates$"},
	{136, "internal/store/sqlite/store.go", "os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)", "os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)", "internal/store/sqlite", "^TestFault136FilesArePrivate$"},
	{137, "internal/config/yaml.go", "if c.merged++; c.merged > maxMerge {", "if c.merged++; false {", "internal/config", "^TestHostileFiles$"},
	{138, "internal/config/address.go", "return err != nil || !addr.Unmap().IsLoopback()", "return false && !addr.Unmap().IsLoopback()", "internal/config", "^TestPlainHTTP$"},
}

const (
	defencesBegin = "<!-- defences: written by go test ./internal/arch -run TestDefencesAreListed -update -->"
	defencesEnd   = "<!-- end of defences -->"
)

// TestDefences: each line stands where it is said to. With ADSYNC_DEFENCES=1 each is taken out in turn (a build overlay; no file is changed), and its test
// must pass with it and fail without it.
func TestDefences(t *testing.T) {
	slow := os.Getenv("ADSYNC_DEFENCES") == "1"
	whole := map[string]error{} // what became of a test with nothing taken out
	for _, d := range defences {
		t.Run(fmt.Sprintf("%d %s", d.fault, filepath.Base(d.file)), func(t *testing.T) {
			src := read(t, filepath.Join(root, d.file))
			if n := strings.Count(src, d.line); n != 1 {
				t.Fatalf("%s has this line %d times, want once: %s", d.file, n, d.line)
			}
			if !slow {
				return
			}
			key := d.pkg + " " + d.run
			if _, known := whole[key]; !known {
				out, err := goTest(t, d.pkg, d.run, "")
				if err == nil && strings.Contains(out, "no tests to run") {
					err = fmt.Errorf("%s has no test %s", d.pkg, d.run)
				} else if err != nil {
					err = fmt.Errorf("%w\n%s", err, out)
				}
				whole[key] = err
			}
			if err := whole[key]; err != nil {
				t.Fatalf("with the line in place: %v", err)
			}
			begin := time.Now()
			out, err := goTest(t, d.pkg, d.run, overlay(t, d, src))
			switch {
			case err == nil:
				t.Errorf("%s: nothing notices that this line is gone: %s", d.file, d.line)
			case !strings.Contains(out, "--- FAIL: ") && !strings.Contains(out, "\npanic: "):
				t.Errorf("the test did not fail, it did not run: %v\n%s", err, out)
			default:
				t.Logf("noticed after %v", time.Since(begin).Round(time.Millisecond))
			}
		})
	}
}

// overlay writes the file without the line, and what tells the compiler to take it instead.
func overlay(t *testing.T, d defence, src string) string {
	t.Helper()
	dir := t.TempDir()
	file, err := filepath.Abs(filepath.Join(root, d.file))
	if err != nil {
		t.Fatal(err)
	}
	changed, path := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	table, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{changed: strings.Replace(src, d.line, d.without, 1), path: string(table)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// goTest runs tests of a package. They have a minute, the compiler as long as it needs within ten.
func goTest(t *testing.T, pkg, run, overlay string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	args := []string{"test", "-run", run, "-count=1", "-timeout", "60s"}
	if overlay != "" {
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+pkg)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if len(out) > 8<<10 {
		out = append(out[:8<<10], "\n…"...)
	}
	return string(out), err
}

// TestDefencesAreListed: docs/faults.md shows the same lines.
func TestDefencesAreListed(t *testing.T) {
	cell := func(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }
	var want strings.Builder
	want.WriteString(defencesBegin + "\n\n| # | where | the line | the test that turns red without it |\n|---|---|---|---|\n")
	for _, d := range defences {
		fmt.Fprintf(&want, "| %d | %s | %s | %s |\n", d.fault, cell(d.file), cell(d.line), cell(d.pkg+" "+d.run))
	}
	want.WriteString("\n" + defencesEnd)
	page := read(t, faultsPage)
	before, rest, ok := strings.Cut(page, defencesBegin)
	_, after, ok2 := strings.Cut(rest, defencesEnd)
	if !ok || !ok2 {
		t.Fatalf("docs/faults.md has no lines %s and %s", defencesBegin, defencesEnd)
	}
	now := before + want.String() + after
	switch {
	case now == page:
	case *update:
		if err := os.WriteFile(faultsPage, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("the list of defences in docs/faults.md is old: go test ./internal/arch -run TestDefencesAreListed -update")
	}
}
