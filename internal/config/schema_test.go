package config

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"adsync/internal/secret"
)

func compile(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("adsync.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("adsync.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a YAML document as an editor hands it to a schema.
func instance(t *testing.T, src string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(src), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// What Load takes, the schema takes; and it finds what an editor can find.
func TestSchema(t *testing.T) {
	s := compile(t, Schema())
	good := map[string]string{"template": template, "whole": whole}
	for _, line := range []string{
		"timeout: 100ms", "timeout: 1m30s", "timeout: ${T}", "page_size: 10000", "page_size: '10'", "concurrency: auto", "concurrency: 256", "per_campaign_sync: no", "per_campaign_sync: TRUE",
		"quota: none", "quota: 10/1m, 1000/1d", "quota: [10/1m, 1000/1d]", "quota: ['${Q}']", "schedule: every 90s", "schedule: '0 6 * * 1'", "x_client_id: ''", "x_client_id:", "x_client_id: 7", "name: eu",
		"max_listing_slack: 5", "max_elapsed: ${M:-10m}",
	} {
		good[line] = one("~" + line + "\n")
	}
	for name, src := range good {
		if err := s.Validate(instance(t, src)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken, err := os.ReadFile("testdata/broken.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{
		"broken": strings.Replace(string(broken), "        timeout: 2s\n", "", 1), "no clients": "database: sqlite:a.db", "clients": "clients: []", "a list": "[]",
		"defaults": "defaults: {timeout: 5}\n" + one(""), "database": "database: adsync.db\n" + one(""), "platform": strings.Replace(one(""), "adplatform", "adplatfrom", 1),
		"userinfo": strings.Replace(one(""), "https://ads", "https://u:p@ads", 1), "environment": "environment: prod\n" + one(""),
	}
	for _, line := range []string{
		"timeout: 5", "timeout: 5 mins", "timeout: -1s", "timeout: true", "page_size: 0", "page_size: 10001", "page_size: ten", "concurrency: 0", "concurrency: 257", "per_campaign_sync: maybe", "quota: 10", "quota: []",
		"quota: 10 per minute", "schedule: hourly", "schedule: every day", "unknown: 1", "credentials: x", "max_listing_slack: 0",
	} {
		bad[line] = strings.Replace(one("~"+line+"\n"), "        credentials: {email: \"${E:-a@example.com}\", password: \"${P}\"}\n", "", 1)
	}
	for name, src := range bad {
		if err := s.Validate(instance(t, src)); err == nil {
			t.Errorf("%s passes the schema", name)
		}
	}
}

// Every value that a table names, for people to copy, can be used.
func TestTablesAreUsable(t *testing.T) {
	fields := append(append([]Field{}, rootFields...), clientFields...)
	fields = append(fields, connectionFields...)
	for _, p := range Platforms() {
		fields = append(fields, p.Fields...)
		seen := map[string]bool{}
		for _, f := range p.Fields {
			if seen[f.Name] || f.set == nil || f.Type == "" || f.Allowed == "" || f.Help == "" || f.Example == "" || f.Required == (f.Default != "" || f.Implied != "") {
				t.Errorf("%s: the row is not whole: %+v", f.Name, f)
			}
			seen[f.Name] = true
		}
	}
	for _, f := range fields {
		written := []string{f.Default, strings.Trim(f.Example, `"[]`)}
		if f.kind.list && strings.HasPrefix(f.Example, `[`) && !strings.Contains(f.Example, "/") {
			written = append(written[:1], strings.Split(written[1], ", ")...)
		}
		for _, v := range written {
			if v = strings.Trim(v, `"`); v == "" || strings.Contains(v, "${") || f.kind == keyFile && strings.HasPrefix(v, "file:") {
				continue
			}
			if _, flt := f.kind.parse(v); flt != nil {
				t.Errorf("%s: %q %s", f.Name, v, flt.message)
			}
		}
	}
}

// A platform that comes later brings a table, and everything else follows from it.
func TestAnotherPlatform(t *testing.T) {
	other := PlatformOptions{Name: "otherads", Title: "Other Ads", Fields: []Field{
		field(Field{Name: "credentials.token", Required: true, Secret: true, Example: "${TOKEN}"}, credential, func(c *Connection, v any) { c.Password = secret.New(v.(string)) }),
		field(Field{Name: "page_size", Default: "500"}, wholeNumber(1, 1000), func(c *Connection, v any) { c.PageSize = v.(int) }),
	}}
	platforms := append(Platforms(), other)
	load := func(src string) (*Config, error) {
		return Load(Options{Dir: dirWith(t, map[string]string{DefaultFile: src}), Environ: []string{"P=x"}, platforms: platforms})
	}
	src := "defaults: {timeout: 5s, page_size: 50}\n" + one("      - platform: otherads\n        credentials: {token: c4n4ry}\n")
	c, err := load(src)
	if err != nil || len(c.Connections) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	got := c.Connections[1]
	if got.Platform != "otherads" || got.Ref.Connection != "otherads" || got.Password.Reveal() != canary || got.PageSize != 50 || got.Timeout != 0 || got.CredentialSource != "adsync.yaml line 9" || len(c.Warnings) != 1 {
		t.Errorf("got %+v, warnings %v", got, c.Warnings)
	}
	_, err = load(one("      - platform: otherads\n        timeout: 5s\n        credentials: {password: c4n4ry}\n"))
	var said []string
	for _, p := range problems(t, err) {
		said = append(said, p.Path+": "+p.Message)
	}
	want := []string{
		"clients[0].connections[1].credentials.token: is missing",
		"clients[0].connections[1].timeout: there is no such key here",
		"clients[0].connections[1].credentials: there is no such key here",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
	s := compile(t, schema(platforms))
	if err := s.Validate(instance(t, src)); err != nil {
		t.Error(err)
	}
	if err := s.Validate(instance(t, strings.Replace(src, "{token: c4n4ry}", "{password: c4n4ry}", 1))); err == nil {
		t.Error("credentials of one platform pass for another")
	}
}
