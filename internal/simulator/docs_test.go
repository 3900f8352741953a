package simulator

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

//go:generate go test -run TestDocsAreCurrent -update .

var update = flag.Bool("update", false, "write the generated parts of docs/simulator.md anew")

const docsPage = "../../docs/simulator.md"

// table is the catalogue as the page has it.
func table() string {
	var b strings.Builder
	cell := strings.NewReplacer("|", `\|`, "\n", " ").Replace
	section := ""
	for _, f := range Catalogue() {
		if f.Section != section {
			section = f.Section
			fmt.Fprintf(&b, "\n### %s\n\n| fault | number | what happens | plays by default | own settings |\n|---|---|---|---|---|\n", section)
		}
		var numbers, params []string
		for _, n := range f.Numbers {
			numbers = append(numbers, strconv.Itoa(n))
		}
		for _, p := range f.Params {
			s := "`" + p.Name + "=" + p.Default + "` " + p.Help
			if p.Values != nil {
				s += ": " + strings.Join(p.Values, ", ")
			}
			params = append(params, s)
		}
		def := ""
		if f.Default != "" {
			def = "`" + f.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", f.Name, strings.Join(numbers, ", "), cell(f.Help), cell(def), cell(strings.Join(params, "<br>")))
	}
	return b.String()
}

func selectorTable() string {
	var b strings.Builder
	b.WriteString("\n| setting | meaning |\n|---|---|\n")
	for _, p := range Selectors() {
		fmt.Fprintf(&b, "| `%s=` | %s |\n", p.Name, strings.ReplaceAll(p.Help, "|", `\|`))
	}
	b.WriteString("\n")
	return b.String()
}

// between replaces what stands between two markers.
func between(page, name, content string) (string, error) {
	open, end := "<!-- "+name+": generated, see internal/simulator -->\n", "<!-- end of "+name+" -->"
	before, rest, ok1 := strings.Cut(page, open)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return "", fmt.Errorf("%s: no markers for %s", docsPage, name)
	}
	return before + open + content + end + after, nil
}

func TestDocsAreCurrent(t *testing.T) {
	b, err := os.ReadFile(docsPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for name, content := range map[string]string{"catalogue": table() + "\n", "selectors": selectorTable()} {
		if page, err = between(page, name, content); err != nil {
			t.Fatal(err)
		}
	}
	if page == string(b) {
		return
	}
	if !*update {
		t.Fatal("docs/simulator.md is stale: go test ./internal/simulator -run TestDocsAreCurrent -update")
	}
	if err := os.WriteFile(docsPage, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}
