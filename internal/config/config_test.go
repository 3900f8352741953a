package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files and the generated page anew")

// canary is in every secret of these tests; it must be in no text that a person reads.
const canary = "c4n4ry"

// golden compares got with a file, or renews the file.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go test ./internal/config -update writes it", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is stale; go test ./internal/config -update renews it (-file +now):\n%s", file, diff)
	}
}

// dirWith makes a folder with private files.
func dirWith(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loadYAML loads src as adsync.yaml.
func loadYAML(t *testing.T, src string, environ ...string) (*Config, error) {
	t.Helper()
	return Load(Options{Dir: dirWith(t, map[string]string{DefaultFile: src}), Environ: environ})
}

// problems are those of an error of Load.
func problems(t *testing.T, err error) []Problem {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Problems) == 0 {
		t.Fatalf("got %v, want an *Error with problems", err)
	}
	return e.Problems
}

// wellFormed holds every problem to what problems promise.
func wellFormed(t testing.TB, ps []Problem) {
	t.Helper()
	for _, p := range ps {
		s := p.String()
		if strings.Contains(s, canary) {
			t.Errorf("a secret is shown: %s", s)
		}
		if p.Message == "" || strings.Count(s, "\n") > 1 || strings.ContainsAny(s, "\x00\x1b\r\t") {
			t.Errorf("not a message of one line and a cure: %q", s)
		}
	}
}

// Every mistake of a file is found at once, each with its place, and no secret is repeated (faults 132, 134, 135, 138, 139).
func TestBrokenFile(t *testing.T) {
	src, err := os.ReadFile("testdata/broken.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = loadYAML(t, string(src), "PAGE_SIZE=c4n4ry-size", "UNRELATED=c4n4ry-unrelated")
	ps := problems(t, err)
	wellFormed(t, ps)
	golden(t, "testdata/broken.golden", []byte(err.Error()+"\n"))
}

func TestGeneratedFilesAreFresh(t *testing.T) {
	golden(t, "../../docs/configuration.md", Reference())
	golden(t, "../../.env.example", []byte(EnvExample))
}
