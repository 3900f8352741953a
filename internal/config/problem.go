package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"adsync/internal/ads"
)

// Problem is one mistake, or a warning. Every text in it is safe to print.
type Problem struct {
	File    string // as the user named it, "environment", or "" where the command line is to blame
	Line    int    // from 1; 0: the file as a whole
	Column  int    // from 1, in characters; 0: the line as a whole
	Path    string // clients[0].connections[0].quota, or the variable's name
	Value   string // what was found, cut short; empty where it is, or may hold, a secret
	Message string
	Cure    string
	Warning bool
}

// String is the problem in one line, with the cure on a second one.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
			if p.Column > 0 {
				fmt.Fprintf(&b, ":%d", p.Column)
			}
		}
		b.WriteString(": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	if p.Value != "" {
		fmt.Fprintf(&b, "%q ", p.Value)
	}
	b.WriteString(p.Message)
	if p.Cure != "" {
		b.WriteString("\n  ")
		b.WriteString(p.Cure)
	}
	return b.String()
}

// Error is what Load gives for a configuration that cannot be used: all problems, in the order of the file. Exit code 2.
type Error struct {
	Problems []Problem
	Warnings []Problem // what would be warned about if there were nothing worse; Error does not print it
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// place is where something stands.
type place struct {
	file      string
	line, col int
}

// report gathers problems. One place is blamed once for one thing, however many aliases lead there.
type report struct {
	problems []Problem
	seen     map[Problem]bool
	dropped  int
	strict   bool
	done     map[place]bool // places of YAML that has no meaning: what follows from it there is not said
}

func (r *report) add(p Problem) {
	p.Path, p.Value = ads.Printable(p.Path, 200), ads.Printable(p.Value, 80)
	p.Message, p.Cure = ads.Printable(p.Message, 500), ads.Printable(p.Cure, 1000)
	if r.done[place{p.File, p.Line, p.Column}] {
		return
	}
	key := p
	if p.Line > 0 {
		key.Path = ""
	}
	if r.seen[key] {
		return
	}
	if len(r.problems) >= maxProblems {
		r.dropped++
		return
	}
	if r.seen == nil {
		r.seen = map[Problem]bool{}
	}
	r.seen[key] = true
	r.problems = append(r.problems, p)
}

func (r *report) at(at place, path, value, message, cure string) {
	r.add(Problem{File: at.file, Line: at.line, Column: at.col, Path: path, Value: value, Message: message, Cure: cure})
}

// only blames a place, and nothing else there after it.
func (r *report) only(at place, message, cure string) {
	r.at(at, "", "", message, cure)
	if r.done == nil {
		r.done = map[place]bool{}
	}
	r.done[at] = true
}

func (r *report) warn(at place, path, value, message, cure string) {
	r.add(Problem{File: at.file, Line: at.line, Column: at.col, Path: path, Value: value, Message: message, Cure: cure, Warning: true})
}

// result parts warnings from errors. Where strict, a warning is an error.
func (r *report) result() (warnings []Problem, err error) {
	var errs []Problem
	for _, p := range r.problems {
		if p.Warning && !r.strict {
			warnings = append(warnings, p)
			continue
		}
		p.Warning = false
		errs = append(errs, p)
	}
	order(warnings)
	order(errs)
	if r.dropped > 0 && len(errs) > 0 {
		errs = append(errs, Problem{Message: fmt.Sprintf("and %d more; these come first", r.dropped)})
	}
	if len(errs) > 0 {
		return warnings, &Error{Problems: errs, Warnings: warnings}
	}
	return warnings, nil
}

func order(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
}
