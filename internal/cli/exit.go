package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/engine"
	"adsync/internal/report"
)

// outputLost is the exit code when all went well but nobody took the output: what a shell shows for SIGPIPE.
const outputLost = 141

// failure is how a command ended where it is not well: the exit code, and the one line about it.
type failure struct {
	kind  report.Kind
	where string // "client acme, listing page 4, 12 requests"; may be empty
	why   string
	next  string
}

func (f *failure) Error() string { return f.why }

// end prints the closing line and gives the exit code.
func (a *app) end(err error) int {
	if err == nil {
		switch lost := a.stdout.failed(); {
		case lost == nil:
			return report.OK.Code
		case errors.Is(lost, syscall.EPIPE):
			return outputLost
		default:
			a.line(outputLost, "adsync: the output could not be written: "+lost.Error())
			return outputLost
		}
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = a.failureOf(err)
	}
	why := strings.TrimRight(f.why, ". \n")
	if !strings.HasSuffix(why, "?") && !strings.HasSuffix(why, "!") {
		why += "."
	}
	line := fmt.Sprintf("adsync: exit %d (%s): ", f.kind.Code, f.kind.Name)
	if f.where != "" {
		line += f.where + ": "
	}
	line += why
	if f.next != "" {
		line += " " + f.next
	}
	a.line(f.kind.Code, line)
	return f.kind.Code
}

// line is the last word on stderr. Where log lines are JSON, it is one of them.
func (a *app) line(code int, line string) {
	line = report.OneLine(a.red.String(line))
	switch {
	case a.console == nil:
		_, _ = fmt.Fprintln(a.stderr, line)
	case a.LogFormat == string(report.FormatJSON):
		a.console.Log().Error(line, slog.Int("exit_code", code))
	default:
		_, _ = fmt.Fprintln(a.console, line)
	}
}

// failureOf puts an error that did not come from a run into the form of the closing line.
func (a *app) failureOf(err error) *failure {
	if e, ok := errors.AsType[*config.Error](err); ok {
		for _, p := range e.Problems {
			a.problem(slog.LevelError, p)
		}
		why := "the configuration has a mistake"
		if n := len(e.Problems); n > 1 {
			why = fmt.Sprintf("the configuration has %d mistakes", n)
		}
		return &failure{kind: report.Config, why: why, next: "Nothing was sent and nothing was written."}
	}
	if a.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = context.Cause(a.ctx)
	}
	x := report.ExplainError(err, time.Now())
	return &failure{kind: x.Kind, why: x.Why, next: x.Next}
}

// problem prints a mistake in the configuration, or a warning about it.
func (a *app) problem(level slog.Level, p config.Problem) {
	if a.LogFormat != string(report.FormatJSON) && level >= slog.LevelError {
		_, _ = fmt.Fprintln(a.console, p.String())
		return
	}
	cure := p.Cure
	p.Cure, p.Warning = "", false
	a.log().Log(a.ctx, level, p.String(), "cure", cure)
}

// ending is the failure that the ends of several runs make together; nil when all are complete.
func (a *app) ending(sums []engine.Summary) error {
	now := time.Now()
	kinds := make([]report.Kind, len(sums))
	bad, worst := 0, -1
	for i, s := range sums {
		kinds[i] = report.KindOf(s.Err)
		if s.Err == nil && s.Outcome != ads.Complete {
			kinds[i] = report.Internal
		}
		if kinds[i] != report.OK {
			bad++
		}
	}
	all := report.Together(kinds)
	if all == report.OK {
		return nil
	}
	for i, k := range kinds {
		if k != report.OK && (worst < 0 || k == all && kinds[worst] != all) {
			worst = i
		}
	}
	s := sums[worst]
	x := report.Explain(s, now)
	where := "client " + s.Ref.ClientID
	if s.Ref.Connection != s.Platform {
		where += ", connection " + s.Ref.Connection
	}
	where += ", " + cmp.Or(s.Phase, "before its start") + ", " + plural(s.Figures.Requests, "request")
	if len(sums) == 1 {
		return &failure{kind: all, where: where, why: x.Why, next: x.Next}
	}
	head := fmt.Sprintf("%d of %d connections are not complete: %s", bad, len(sums), where)
	if bad > 1 {
		head = fmt.Sprintf("%d of %d connections are not complete, such as %s", bad, len(sums), where)
	}
	why := x.Why
	if kinds[worst] != all {
		why = kinds[worst].Name + ": " + why
	}
	return &failure{kind: all, where: head, why: why, next: x.Next}
}

func plural(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
