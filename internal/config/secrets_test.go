package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"adsync/internal/secret"
)

// vault is a store of secrets in memory, by reference.
type vault map[string]string

func (v vault) Resolve(ctx context.Context, ref string) (secret.Text, error) {
	if err := ctx.Err(); err != nil {
		return secret.Text{}, err
	}
	s, ok := v[ref]
	if !ok {
		return secret.Text{}, fmt.Errorf("there is no %s", ref)
	}
	return secret.New(s), nil
}

// A remote secret is read late, and again whenever it is asked for.
func TestResolve(t *testing.T) {
	dir := dirWith(t, map[string]string{
		DefaultFile: "database: vault:db\n" + strings.NewReplacer("${P}", "vault:acme#${KEY}", "${E:-a@example.com}", "file:email").Replace(one("")), "email": "one@example.com",
	})
	v := vault{"db": "postgres://u:c4n4ry@h/db", "acme#password": "c4n4ry-1"}
	c, err := Load(Options{Dir: dir, Environ: []string{"KEY=password"}, Stores: func(Secrets) map[string]Resolver { return map[string]Resolver{"vault": v} }})
	if err != nil {
		t.Fatal(err)
	}
	conn := &c.Connections[0]
	if !conn.Password.Empty() || c.Database.Engine != "" || conn.Email.Reveal() != "one@example.com" || conn.CredentialSource != "vault acme#password" {
		t.Errorf("before: %+v", c)
	}
	if err := c.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if conn.Password.Reveal() != "c4n4ry-1" || c.Database.Display != "postgres://u@h/db" {
		t.Errorf("after: %+v", c)
	}
	v["acme#password"] = "c4n4ry-2"
	if err := os.WriteFile(filepath.Join(dir, "email"), []byte("two@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Resolve(t.Context()); err != nil || conn.Password.Reveal() != "c4n4ry-2" || conn.Email.Reveal() != "two@example.com" {
		t.Errorf("rotated: %v", err)
	}

	// What cannot be read leaves the last value, and every such reference is named.
	delete(v, "acme#password")
	v["db"] = "mysql://u:c4n4ry@h/db"
	if err := os.Remove(filepath.Join(dir, "email")); err != nil {
		t.Fatal(err)
	}
	err = c.Resolve(t.Context())
	ps := problems(t, err)
	wellFormed(t, ps)
	if len(ps) != 3 || conn.Password.Reveal() != "c4n4ry-2" || conn.Email.Reveal() != "two@example.com" || c.Database.Engine != Postgres {
		t.Errorf("got %v, %+v", err, c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Resolve(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSecretReferences(t *testing.T) {
	for ref, want := range map[string]string{
		"vault:secret/x#y":  `"vault:…" names a secret store that is not available in this build`,
		"aws:name":          "is not available in this build",
		"gcp:name":          "is not available in this build",
		"env:":              "names nothing",
		"env:1A":            "does not hold the name of a variable",
		"env:NOPE":          "the environment variable NOPE is not set",
		"env:EMPTY":         "is empty",
		"env:NL":            "holds a line break",
		"file:":             "names nothing",
		"file:nope":         "there is no such file",
		"file:empty":        "is empty",
		"file:big":          "is too big: more than 64 KiB",
		"file:.":            "is a directory",
		"file:two":          "holds a line break",
		"file:/dev/null":    "is not a regular file",
		"file:good":         "",
		"file:./good":       "",
		"env:GOOD":          "",
		"env:${WHICH}":      "",
		"file:${WHICH_F}":   "",
		"Vault:not a ref":   "",
		"plain:not a ref":   "",
		"file:crlf":         "",
		"${LOOKS_LIKE_REF}": "",
	} {
		files := map[string]string{
			DefaultFile: strings.ReplaceAll(one(""), "${P}", ref), "good": "c4n4ry\n", "crlf": "c4n4ry\r\n", "empty": "\n", "two": "c4n4ry\nc4n4ry\n", "big": strings.Repeat("x", maxSecretFile+1),
		}
		c, err := Load(Options{Dir: dirWith(t, files), Environ: []string{"EMPTY=", "NL=c4n4ry\n", "GOOD=c4n4ry", "WHICH=GOOD", "WHICH_F=good", "LOOKS_LIKE_REF=vault:c4n4ry"}})
		if want == "" {
			if err != nil || c.Connections[0].Password.Empty() {
				t.Errorf("%s: %v", ref, err)
			} else if pw := c.Connections[0].Password.Reveal(); strings.HasSuffix(pw, "\n") || strings.HasSuffix(pw, "\r") {
				t.Errorf("%s: the line break is in the password", ref)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s is taken", ref)
			continue
		}
		ps := problems(t, err)
		wellFormed(t, ps)
		if len(ps) != 1 || !strings.Contains(err.Error(), want) || ps[0].Line != 6 {
			t.Errorf("%s: got %v, want %q", ref, err, want)
		}
	}
}

// Whatever is broken about a file and its environment, no secret is said: one byte or line of a good one is changed at random.
func TestNoSecretInAnyMessage(t *testing.T) {
	const good = `database: postgres://adsync:c4n4ryDSN@db.example.com:5432/ads?password=c4n4ryDSN2
defaults:
  credentials:
    password: c4n4ryDefault
clients:
  - id: acme
    connections:
      - platform: adplatform
        url: https://ads.example.com
        credentials:
          email: c4n4ry@example.com
          password: "c4n4ryQuoted"
        quota: 10/1m
  - id: globex
    connections:
      - platform: adplatform
        url: https://u:c4n4ryURL@ads.example.com
        credentials: {email: a@example.com, password: 'c4n4ry: x'}
        timeout: ${PW}
      - name: second
        platform: ${PW}
        url: ${URL}
        credentials: {email: "${PW}", password: "pre${PW}post"}
`
	const dotenv = "PW=c4n4ryPW\nURL=https://u:c4n4ryU@h/?t=c4n4ryT\nexport X='c4n4ryX'\n"
	rapid.Check(t, func(t *rapid.T) {
		mutate := func(s, label string) string {
			b := []byte(s)
			for range rapid.IntRange(0, 2).Draw(t, label) {
				i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
				c := rapid.SampledFrom([]byte(" \t\n:{}[],'\"#&*!|>%@`$-?\\x0")).Draw(t, "byte")
				switch rapid.IntRange(0, 3).Draw(t, "how") {
				case 0:
					b = append(b[:i:i], b[i+1:]...)
				case 1:
					b[i] = c
				case 2:
					b = append(b[:i:i], append([]byte{c}, b[i:]...)...)
				case 3:
					b = b[:i+1]
				}
			}
			return string(b)
		}
		src, env := mutate(good, "file"), mutate(dotenv, "env")
		// A key is shown, so what became a key, or a client's id, or a setting that is no secret, is not a secret any more.
		dir, err := os.MkdirTemp("", "adsync-config")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		for name, content := range map[string]string{DefaultFile: src, ".env": env} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Load(Options{Dir: dir})
		said := ""
		if err != nil {
			said = err.Error()
			for _, p := range err.(*Error).Problems {
				said += fmt.Sprintf("%+v %#v", p, p)
			}
		} else {
			if first, _, _ := strings.Cut(good, "\n"); !strings.HasPrefix(src, first+"\n") {
				c.Database.Display = "" // without its colon, what was a password is a user's name
			}
			said = fmt.Sprintf("%v %+v %#v %v %v", c, c, c.Connections, c.Warnings, c.Notes)
		}
		if strings.Contains(said, "c4n4ry") {
			t.Fatalf("a secret is said:\n%s\nof\n%s\nand\n%s", said, src, env)
		}
	})
}

func FuzzLoad(f *testing.F) {
	broken, err := os.ReadFile("testdata/broken.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{whole, template, string(broken), one("~timeout: 5\n"), "clients: &a [*a]\n", "a: 1\n---\nb: 2", "{", "- - -", "<<: {clients: [x]}", "clients: [{id: a, connections: [{platform: adplatform}]}]"} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	name := filepath.Join(dir, DefaultFile)
	f.Fuzz(func(t *testing.T, src []byte) {
		if err := os.WriteFile(name, src, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Options{Dir: dir, Environ: []string{"P=x", "ACME_PASSWORD=x", "ACME_EMAIL=x", "ACME_URL=http://x", "DB_PW=x", "ELAPSED=1m"}})
		if err != nil {
			ps := problems(t, err)
			for _, p := range ps {
				if p.Line < 0 || p.Line > bytes.Count(src, []byte("\n"))+bytes.Count(src, []byte("\r"))+2 || p.Message == "" {
					t.Fatalf("%q: %+v", src, p)
				}
			}
			wellFormed(t, ps)
			return
		}
		if len(c.Connections) == 0 || c.Database.Engine == "" {
			t.Fatalf("%q: %+v", src, c)
		}
		for _, conn := range c.Connections {
			if conn.Ref.ClientID == "" || conn.Ref.Connection == "" || conn.URL == "" || conn.Email.Empty() || conn.Password.Empty() || conn.Timeout <= 0 || conn.MaxElapsed <= 0 || conn.PageSize < 1 || conn.MaxListingSlack < 1 ||
				conn.Quota == nil || conn.Schedule.Text == "" || conn.Concurrency < 0 {
				t.Fatalf("%q: %+v", src, conn)
			}
		}
	})
}
