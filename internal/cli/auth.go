package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/term"

	"adsync/internal/authorize"
	"adsync/internal/connect"
	"adsync/internal/report"
	"adsync/internal/secret"
)

type authCmd struct {
	Platform  string        `arg:"" enum:"meta,google,google_ads" help:"meta or google."`
	ID        string        `name:"app-id" aliases:"client-id" placeholder:"ID" help:"The app's id (Meta) or OAuth client's id (Google); else META_APP_ID or GOOGLE_CLIENT_ID, else it is asked for."`
	Write     string        `name:"write" placeholder:"FILE" help:"Write the credentials into this new file, for its owner alone."`
	Print     bool          `name:"print" help:"Print the credentials on stdout."`
	Port      int           `name:"port" default:"0" help:"Port of this machine that the browser is sent back to (default: any that is free)."`
	NoBrowser bool          `name:"no-browser" help:"Do not open a browser, only show the address."`
	Wait      time.Duration `name:"wait" default:"10m" help:"How long to wait for the person."`
	Version   string        `name:"api-version" placeholder:"VERSION" help:"Version of Meta's API (default: the newest known)."`
	DialogURL string        `name:"dialog-url" placeholder:"URL" help:"Where the dialog is, for rehearsals with the simulator."`
	TokenURL  string        `name:"token-url" placeholder:"URL" help:"Where tokens come from, for rehearsals with the simulator."`
}

// Run walks a person through giving access. The app's secret is no flag: flags are seen by everybody on the machine.
func (c *authCmd) Run(a *app) error {
	if c.Write == "" && !c.Print {
		return &failure{kind: report.Config, why: "nothing says where the credentials go", next: "Give --write FILE, for a new file that only you can read, or --print."}
	}
	if c.Write != "" {
		if _, err := os.Lstat(c.Write); err == nil {
			return &failure{kind: report.Config, why: c.Write + " is there already, and is not overwritten", next: "Name another file, or move it away."}
		}
	}
	if c.Port < 0 || c.Port > 65535 || c.Wait <= 0 {
		return &failure{kind: report.Config, why: "--port or --wait is out of range", next: "Write a port from 0 to 65535, and a wait such as 10m."}
	}
	names := []string{"GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"}
	p := authorize.Google(strings.TrimRight(c.DialogURL, "/"), strings.TrimRight(c.TokenURL, "/"))
	if c.Platform == "meta" {
		names = []string{"META_APP_ID", "META_APP_SECRET"}
		version := cmp.Or(c.Version, connect.Versions("meta")[0].Name)
		p = authorize.Meta(version, strings.TrimRight(c.DialogURL, "/"), strings.TrimRight(c.TokenURL, "/"))
	}
	ask := asker{a: a, in: bufio.NewReader(a.stdin)}
	id, err := ask.text(cmp.Or(c.ID, a.env(names[0])), names[0])
	if err != nil {
		return err
	}
	hidden, err := ask.secret(a.env(names[1]), names[1])
	if err != nil {
		return err
	}
	a.red.Add(secret.New(hidden))
	got, err := authorize.Run(a.ctx, p, authorize.App{ID: id, Secret: secret.New(hidden)}, authorize.Options{Port: c.Port, Wait: c.Wait, Ask: func(address string) {
		_, _ = fmt.Fprintf(a.stderr, "Open this address in a browser, log in to %s, and agree:\n\n  %s\n\nWaiting for %s…\n", p.Title, address, c.Wait)
		if !c.NoBrowser {
			browse(a.ctx, address)
		}
	}})
	if err != nil {
		e, ok := errors.AsType[*authorize.Error](err)
		switch {
		case !ok:
			return err
		case e.Refused:
			return &failure{kind: report.Auth, why: e.Message, next: sentence(e.Hint)}
		}
		return &failure{kind: report.Upstream, why: e.Message, next: sentence(e.Hint)}
	}
	var lines strings.Builder
	for _, v := range got.Values {
		a.red.Add(v.Value)
		fmt.Fprintf(&lines, "%s=%s\n", v.Name, v.Value.Reveal())
	}
	if c.Write != "" {
		if err := writeNew(c.Write, lines.String()); err != nil {
			return &failure{kind: report.Config, why: "the credentials could not be written: " + err.Error(), next: "They are lost: name a file that can be made, and run it again."}
		}
		_, _ = fmt.Fprintf(a.stderr, "The credentials are in %s. Move its lines to .env, or to your store of secrets.\n", c.Write)
	}
	if c.Print {
		if _, err := io.WriteString(a.stdout, lines.String()); err != nil {
			return err
		}
	}
	for _, s := range got.Said {
		_, _ = fmt.Fprintln(a.stderr, s)
	}
	_, _ = fmt.Fprintln(a.stderr, "In adsync.yaml the connection's credentials name these variables as ${…}; then: adsync check.")
	return nil
}

func sentence(s string) string {
	if s == "" {
		return "Run it again."
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// writeNew makes a file that its owner alone can read, and never takes one that is there.
func writeNew(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// browse opens a browser where there is one; the address stands on the terminal in any case.
func browse(ctx context.Context, address string) {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return
	}
	cmd := exec.CommandContext(ctx, path, args...)
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
	}
}

// asker asks for what neither a flag nor the environment gives.
type asker struct {
	a  *app
	in *bufio.Reader
}

func (k asker) text(given, name string) (string, error) {
	if given != "" {
		return given, nil
	}
	_, _ = fmt.Fprintf(k.a.stderr, "%s: ", name)
	return k.line(name)
}

func (k asker) secret(given, name string) (string, error) {
	if given != "" {
		return given, nil
	}
	_, _ = fmt.Fprintf(k.a.stderr, "%s (not shown): ", name)
	if f, ok := k.a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b, err := term.ReadPassword(int(f.Fd()))
		_, _ = fmt.Fprintln(k.a.stderr)
		if s := strings.TrimSpace(string(b)); err == nil && s != "" {
			return s, nil
		}
		return "", missing(name)
	}
	return k.line(name)
}

func (k asker) line(name string) (string, error) {
	s, err := k.in.ReadString('\n')
	if s = strings.TrimSpace(s); s == "" || err != nil && !errors.Is(err, io.EOF) || len(s) > 4096 {
		return "", missing(name)
	}
	return s, nil
}

func missing(name string) error {
	return &failure{kind: report.Config, why: name + " is not given", next: "Set it in the environment, or type it when it is asked for."}
}
