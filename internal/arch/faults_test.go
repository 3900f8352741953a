package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root       = "../.."
	faultsPage = root + "/docs/faults.md"
	faultCount = 154
)

// laterSubjects are what a fault may be put off to.
var laterSubjects = []string{"service/queue", "dashboard", "real platforms", "secrets"}

var (
	faultRow = regexp.MustCompile(`^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]*) \| ([^|]*) \|$`)
	// testName is a test as the page names it: a package, a function, and after a / the beginning of a subtest's name.
	testName = regexp.MustCompile("`((?:internal/[a-z/]+|e2e)) ((?:Test|Fuzz)[A-Za-z0-9_]+)(?:/([^`]+))?`")
	quoted   = regexp.MustCompile("`[^`]*`")
)

// TestFaultsPage: docs/faults.md has each fault once, and nothing in it names a test that is not there.
func TestFaultsPage(t *testing.T) {
	page, err := os.ReadFile(faultsPage)
	if err != nil {
		t.Fatal(err)
	}
	table, _, found := strings.Cut(string(page), defencesBegin)
	if !found {
		t.Fatalf("docs/faults.md has no line %s", defencesBegin)
	}
	for _, problem := range faultsProblems(table, testsOf(t)) {
		t.Error("docs/faults.md: " + problem)
	}
	n := map[string]int{}
	for line := range strings.Lines(table) {
		if m := faultRow.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			state, _, _ := strings.Cut(strings.TrimSpace(m[3]), ":")
			n[state]++
		}
	}
	if sum := fmt.Sprintf("%d are held, %d are open and %d come later", n["held"], n["open"], n["later"]); !strings.Contains(table, sum) {
		t.Errorf("docs/faults.md does not say that %s", sum)
	}
}

// The page's own test finds what it is for.
func TestFaultsPageIsJudged(t *testing.T) {
	row := func(n int, state, tests string) string {
		return fmt.Sprintf("| %d | something | %s | %s |  |\n", n, state, tests)
	}
	var rest strings.Builder
	for n := 6; n <= faultCount; n++ {
		rest.WriteString(row(n, "open", ""))
	}
	good := row(1, "held", "`internal/x TestA/one`") + row(2, "held", "`internal/x TestA`") + row(3, "open", "") + row(4, "later: dashboard", "") + row(5, "open", "`e2e TestB`") + rest.String()
	tests := map[string]string{"internal/x": "func TestA(t *testing.T) {\n\t{\"one two\"}, {\"fault 12: so\"}", "e2e": "func TestB(t *testing.T) {"}
	if got := faultsProblems(good, tests); len(got) > 0 {
		t.Errorf("a good page: %q", got)
	}
	for _, c := range []struct{ from, to, says string }{
		{row(7, "open", ""), "", "fault 7 is missing"},
		{row(7, "open", ""), row(8, "open", ""), "fault 8 stands here twice"},
		{row(7, "open", ""), row(7, "held", ""), "fault 7 is said to be held, but by no test"},
		{row(7, "open", ""), row(7, "held", "`internal/x testA`"), "fault 7: `internal/x testA` is not the name of a test"},
		{row(7, "open", ""), row(7, "held", "`internal/x TestC`"), "fault 7: internal/x has no TestC"},
		{row(7, "open", ""), row(7, "open", "`internal/y TestA`"), "fault 7: internal/y has no TestA"},
		{row(7, "open", ""), row(7, "held", "`internal/x TestA/three`"), `fault 7: no test of internal/x is called "three…"`},
		{row(7, "open", ""), row(7, "held", "`internal/x TestA/fault 1`"), `fault 7: no test of internal/x is called "fault 1…"`},
		{row(7, "open", ""), row(7, "soon", ""), `fault 7 has the state "soon"`},
		{row(7, "open", ""), row(7, "later: sometime", ""), `fault 7 has the state "later: sometime"`},
		{row(7, "open", ""), row(155, "open", ""), "fault 155 is not one of 1 to 154"},
	} {
		got := strings.Join(faultsProblems(strings.Replace(good, c.from, c.to, 1), tests), "\n")
		if !strings.Contains(got, c.says) {
			t.Errorf("%q: got %q, want %q", c.to, got, c.says)
		}
	}
}

// faultsProblems judges the table. tests are the test sources by package.
func faultsProblems(table string, tests map[string]string) (problems []string) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	seen := map[int]bool{}
	for line := range strings.Lines(table) {
		m := faultRow.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		n, err := strconv.Atoi(m[1])
		what, state, held := m[2], strings.TrimSpace(m[3]), m[4]
		switch {
		case err != nil || n < 1 || n > faultCount:
			add("fault %s is not one of 1 to %d", m[1], faultCount)
		case seen[n]:
			add("fault %d stands here twice", n)
		}
		seen[n] = true
		if len(strings.Fields(what)) > 12 {
			add("fault %d is described in more than 12 words", n)
		}
		names := testName.FindAllStringSubmatch(held, -1)
		subject, later := strings.CutPrefix(state, "later: ")
		switch {
		case later && slices.Contains(laterSubjects, subject), state == "open":
		case state != "held":
			add("fault %d has the state %q, which is none of held, open and later: %s", n, state, strings.Join(laterSubjects, ", later: "))
		case len(names) == 0:
			add("fault %d is said to be held, but by no test", n)
		}
		for _, q := range quoted.FindAllString(held, -1) {
			if testName.FindString(q) != q {
				add("fault %d: %s is not the name of a test", n, q)
			}
		}
		for _, name := range names {
			pkg, fn, sub := name[1], name[2], name[3]
			src := tests[pkg]
			switch {
			case !strings.Contains(src, "func "+fn+"("):
				add("fault %d: %s has no %s", n, pkg, fn)
			case sub != "" && !regexp.MustCompile(`"`+regexp.QuoteMeta(sub)+`(\D|$)`).MatchString(src):
				add("fault %d: no test of %s is called %q", n, pkg, sub+"…")
			}
		}
	}
	for n := 1; n <= faultCount; n++ {
		if !seen[n] {
			add("fault %d is missing", n)
		}
	}
	return problems
}

// testsOf reads the test files of each package. The stores' tests include the suite that they share, the command's its scripts.
func testsOf(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"e2e/*_test.go", "internal/*/*_test.go", "internal/*/*/*_test.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			pkg, err := filepath.Rel(root, filepath.Dir(f))
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.ToSlash(pkg)] += read(t, f)
		}
	}
	suite, err := filepath.Glob(root + "/internal/store/storetest/*.go")
	if err != nil || len(suite) == 0 {
		t.Fatalf("no suite of the stores: %v", err)
	}
	for _, f := range suite {
		src := read(t, f)
		out["internal/store/sqlite"] += src
		out["internal/store/postgres"] += src
	}
	scripts, err := filepath.Glob(root + "/internal/cli/testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts of the command: %v", err)
	}
	for _, f := range scripts {
		out["internal/cli"] += strconv.Quote(strings.TrimSuffix(filepath.Base(f), ".txtar")) + "\n"
	}
	return out
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
