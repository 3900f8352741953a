package cli

import (
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"

	"adsync/internal/report"
)

// consoleOptions decide how stderr looks: live progress on a terminal, log lines elsewhere.
func (a *app) consoleOptions(command string) report.ConsoleOptions {
	o := report.ConsoleOptions{Out: a.stderr, Format: report.Format(a.LogFormat), Red: a.red, Level: slog.LevelInfo}
	if f := terminal(a.stderr); f != nil && o.Format == report.FormatText && a.env("TERM") != "dumb" {
		o.Color = a.env("NO_COLOR") == ""
		o.Size = func() (int, int) {
			w, h, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80, 24
			}
			return w, h
		}
		o.Live = !a.Quiet && ansi(a.env)
	}
	switch {
	case a.LogLevel != "":
		var l slog.Level
		_ = l.UnmarshalText([]byte(a.LogLevel)) // the parser has checked it
		o.Level = l
	case a.Quiet, o.Live && hasProgress(command):
		o.Level = slog.LevelWarn
	}
	return o
}

// hasProgress says that a command shows live progress, so that milestones need no lines.
func hasProgress(command string) bool {
	return command == "sync" || command == "demo" || strings.HasPrefix(command, "failures retry")
}

func terminal(w io.Writer) *os.File {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// ansi says that a terminal moves its cursor when told. Windows' old console does not.
func ansi(env func(string) string) bool {
	return runtime.GOOS != "windows" || env("WT_SESSION") != "" || env("TERM") != ""
}

// env is a variable of the environment that the command was given.
func (a *app) env(name string) string {
	for _, kv := range a.environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}
