package secret_test

import (
	"bytes"
	"database/sql/driver"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"text/template"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"adsync/internal/leaktest"
	"adsync/internal/secret"
)

// holder has a secret in every place that printers treat in their own way.
type holder struct {
	Exported   secret.Text
	Pointer    *secret.Text
	Any        any
	List       []secret.Text
	Map        map[string]secret.Text
	Nested     struct{ Deep *struct{ S secret.Text } }
	unexported secret.Text
	hiddenPtr  *secret.Text
	hiddenAny  any
	hiddenMap  map[string]secret.Text
	embedded
}

type embedded struct{ secret.Text }

func hold(s secret.Text) holder {
	h := holder{
		Exported: s, Pointer: &s, Any: s, List: []secret.Text{s}, Map: map[string]secret.Text{"k": s},
		unexported: s, hiddenPtr: &s, hiddenAny: s, hiddenMap: map[string]secret.Text{"k": s}, embedded: embedded{s},
	}
	h.Nested.Deep = &struct{ S secret.Text }{s}
	return h
}

// No way of printing or writing down a secret, or something that holds one, gives it away in any form.
func TestNoFormGivesItAway(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.StringMatching(`[ -~]{8,40}`).Draw(t, "secret")
		scan, err := leaktest.New(map[string]string{"secret": v})
		if err != nil {
			t.Fatal(err)
		}
		s := secret.New(v)
		h := hold(s)
		for name, x := range map[string]any{
			"value": s, "pointer": &s, "holder": h, "pointer to holder": &h, "list": []secret.Text{s}, "map": map[string]any{"k": s, "h": h},
			"errors": errors.Join(fmt.Errorf("login with %v: %w", s, fmt.Errorf("%+v", h)), fmt.Errorf("%#v", s)),
		} {
			for sink, text := range written(x) {
				if got := scan.Scan(text); len(got) > 0 {
					t.Errorf("%s by %s: %v", name, sink, got)
				}
			}
		}
	})
}

// written is x by all ways that a program has to print or to store it.
func written(x any) map[string][]byte {
	out := map[string][]byte{}
	for _, verb := range strings.Fields("%v %+v %#v %s %q %+q %x %X %#x %d %o %b %c %U %t %e %g %p %T %20v %-20s %.3s %08q") {
		out["fmt "+verb] = fmt.Appendf(nil, verb, x)
	}
	out["fmt wrong"] = fmt.Appendf(nil, "%!", x)
	out["Sprint"] = []byte(fmt.Sprintln(x))
	write := func(name string, fn func(b *bytes.Buffer) error) {
		var b bytes.Buffer
		if err := fn(&b); err != nil {
			b.WriteString(err.Error())
		}
		out[name] = b.Bytes()
	}
	write("json", func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(x) })
	write("json v2", func(b *bytes.Buffer) error { return jsonv2.MarshalWrite(b, x) })
	write("xml", func(b *bytes.Buffer) error { return xml.NewEncoder(b).Encode(x) })
	write("gob", func(b *bytes.Buffer) error { return gob.NewEncoder(b).Encode(x) })
	write("yaml", func(b *bytes.Buffer) error { return yaml.NewEncoder(b).Encode(x) })
	write("template", func(b *bytes.Buffer) error {
		return template.Must(template.New("").Parse(`{{.}} {{printf "%q %v" . .}} {{html .}} {{js .}} {{urlquery .}}`)).Execute(b, x)
	})
	write("page", func(b *bytes.Buffer) error {
		return htmltemplate.Must(htmltemplate.New("").Parse(`<p title="{{.}}">{{.}}<script>var x = {{.}}</script><a href="/?q={{.}}">`)).Execute(b, x)
	})
	for name, h := range map[string]func(b *bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler {
			return slog.NewTextHandler(b, &slog.HandlerOptions{AddSource: true})
		},
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		write(name, func(b *bytes.Buffer) error {
			slog.New(h(b)).With("with", x).WithGroup("g").Error(fmt.Sprint(x), "any", x, slog.Group("in", "x", x))
			return nil
		})
	}
	if v, ok := x.(driver.Valuer); ok {
		got, err := v.Value()
		out["database"] = fmt.Appendf(nil, "%v %v", got, err)
	}
	got, err := driver.DefaultParameterConverter.ConvertValue(x)
	out["database by default"] = fmt.Appendf(nil, "%#v %v", got, err)
	return out
}

// A secret is never a value for a column: storing it is an error that says so, and not a row of stars.
func TestIsNoColumn(t *testing.T) {
	t.Parallel()
	if v, err := driver.DefaultParameterConverter.ConvertValue(secret.New("c4n4ry-value")); err == nil || v != nil || !strings.Contains(err.Error(), "a secret is not stored") {
		t.Errorf("%v, %v", v, err)
	}
}

// What a process prints when it dies of a secret does not hold it.
func TestPanic(t *testing.T) {
	const v = "c4n4ry-value-of-a-panic"
	if os.Getenv("ADSYNC_TEST_PANIC") != "" {
		h := hold(secret.New(v))
		switch os.Getenv("ADSYNC_TEST_PANIC") {
		case "value":
			panic(h.Exported)
		case "holder":
			panic(h)
		case "error":
			panic(fmt.Errorf("%v %#v", h, h.Exported))
		case "pointer":
			panic(&h)
		}
	}
	t.Parallel()
	scan, err := leaktest.New(map[string]string{"secret": v})
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"value", "holder", "error", "pointer"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanic$")
		cmd.Env = append(os.Environ(), "ADSYNC_TEST_PANIC="+what, "GOTRACEBACK=all")
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("panic: ")) {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
		if got := scan.Scan(out); len(got) > 0 {
			t.Errorf("%s: %v", what, got)
		}
	}
}
