package meta

import (
	"flag"
	"os"
	"strings"
	"testing"
)

//go:generate go test -run TestDocsAreCurrent -update .

var update = flag.Bool("update", false, "write the generated part of docs/simulator.md anew")

func TestDocsAreCurrent(t *testing.T) {
	const file, open, end = "../../../docs/simulator.md", "<!-- meta: generated, see internal/simulator/meta -->\n", "<!-- end of meta -->"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), open)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/simulator.md has no place for the catalogue")
	}
	page := before + open + Catalogue().Markdown() + end + after
	if page == string(b) {
		return
	}
	if !*update {
		t.Fatal("docs/simulator.md is stale: go test ./internal/simulator/meta -run TestDocsAreCurrent -update")
	}
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}
