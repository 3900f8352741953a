package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"adsync/internal/config"
	"adsync/internal/report"
	"adsync/internal/store"
)

// globals are the flags that every command has.
type globals struct {
	Config    string `name:"config" placeholder:"FILE" help:"Configuration file (default: adsync.yaml where it exists)."`
	EnvFile   string `name:"env-file" placeholder:"FILE" help:"File with environment variables (default: .env where it exists). The real environment wins."`
	Strict    bool   `name:"strict" help:"Make errors of all warnings about the configuration."`
	LogFormat string `name:"log-format" enum:"text,json" default:"text" placeholder:"text|json" help:"How log lines look (${enum})."`
	LogLevel  string `name:"log-level" enum:",debug,info,warn,error" default:"" placeholder:"LEVEL" help:"Least level that is logged: debug, info, warn or error (default: info; warn beside live progress)."`
	Quiet     bool   `name:"quiet" short:"q" help:"No progress and no summary; warnings and errors only."`
	JSON      bool   `name:"json" help:"One JSON document on stdout."`
}

// grammar is the whole command line.
type grammar struct {
	globals `embed:"" group:"Everywhere"`

	Demo       demoCmd       `cmd:"" help:"Show all of it in under half a minute: a simulated platform, three clients, a database."`
	Init       initCmd       `cmd:"" help:"Write a commented adsync.yaml."`
	Check      checkCmd      `cmd:"" help:"Validate the configuration, reach the database, log in to every connection."`
	Sync       syncCmd       `cmd:"" help:"Bring every connection up to date once, then end."`
	Serve      serveCmd      `cmd:"" help:"Keep every connection fresh on its schedule, until stopped."`
	Status     statusCmd     `cmd:"" help:"Show what is fresh, running, parked and failed."`
	Failures   failuresCmd   `cmd:"" help:"List, retry or drop what failed for good."`
	Simulate   simulateCmd   `cmd:"" help:"Run the ad platform simulator."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database's schema up to date."`
	Auth       authCmd       `cmd:"" help:"Walk through getting credentials for a platform: meta or google."`
	Platforms  platformsCmd  `cmd:"" help:"List the platforms and their settings."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
}

// app is one command while it runs.
type app struct {
	globals
	ctx     context.Context
	began   time.Time
	environ []string
	stdin   io.Reader
	stdout  *output
	stderr  io.Writer
	red     *report.Redactor
	console *report.Console
	parser  *kong.Kong
	strict  bool                          // by flag, or since the file says production
	configs []*config.Config              // whose stores of secrets are open
	wrap    func(store.Store) store.Store // of tests: what stands before the database; nil: nothing
}

// Main runs one command line and gives its exit code. ctx ends with a *report.Stopped as its cause when a signal comes.
func Main(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	a := &app{ctx: ctx, began: time.Now(), environ: environ, stdin: stdin, stdout: &output{w: stdout}, stderr: stderr, red: report.NewRedactor()}
	return a.main(args)
}

func (a *app) main(args []string) (code int) {
	defer func() {
		if v := recover(); v != nil {
			if e, ok := v.(exitNow); ok {
				code = int(e)
			} else {
				code = a.end(report.Caught(a.log(), "running the command"))
			}
		}
		a.release()
		if a.console != nil {
			a.console.Close()
		}
	}()
	var g grammar
	k, err := kong.New(&g,
		kong.Name("adsync"),
		kong.Description("Keep a database in step with ad platforms."),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(code int) {
			if len(args) == 0 {
				code = report.Config.Code
			}
			panic(exitNow(code))
		}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, NoExpandSubcommands: true, WrapUpperBound: 120}),
		kong.ExplicitGroups([]kong.Group{{Key: "Everywhere", Title: "Flags of every command:"}}),
		kong.Vars{"sqlite": config.DefaultDatabase},
	)
	if err != nil {
		panic(err)
	}
	a.parser = k
	words := args
	switch {
	case len(args) == 0:
		k.Stdout = a.stderr
		words = []string{"--help"}
	case args[0] == "help":
		words = append(args[1:len(args):len(args)], "--help")
	}
	parsed, err := k.Parse(words)
	if err != nil {
		return a.end(usage(err))
	}
	a.globals = g.globals
	a.console = report.NewConsole(a.consoleOptions(parsed.Command()))
	return a.end(parsed.Run(a))
}

// exitNow leaves the parser, as --help does.
type exitNow int

func (a *app) log() *slog.Logger {
	if a.console == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.console.Log()
}

// usage is a mistake on the command line.
func usage(err error) error {
	msg := err.Error()
	cmd := "adsync"
	if pe, ok := errors.AsType[*kong.ParseError](err); ok && pe.Context != nil {
		if n := pe.Context.Selected(); n != nil {
			cmd = "adsync " + strings.TrimPrefix(n.Path(), "adsync ")
		}
	}
	return &failure{kind: report.Config, why: msg, next: fmt.Sprintf("Try `%s --help`.", strings.TrimSpace(cmd))}
}

// usagef is a mistake in what a command was asked for.
func usagef(next, format string, args ...any) error {
	return &failure{kind: report.Config, why: fmt.Sprintf(format, args...), next: next}
}
