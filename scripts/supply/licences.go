package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// allowed are licences under which a static binary may be given to anybody, with the texts beside it. MPL-2.0 asks for the source of what is under
// it, unmodified here: the page names module and version.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "Unlicense", "blessing"}

// component is a module with its licences.
type component struct {
	module
	licences []string // SPDX, sorted
	texts    []text
}

type text struct{ name, body string }

// licences are all components, those in binaries first.
type licences struct{ linked, tests []component }

func collect(ctx context.Context) (*licences, error) {
	ms, err := modules(ctx)
	if err != nil {
		return nil, err
	}
	std, err := standard(ctx)
	if err != nil {
		return nil, err
	}
	l := &licences{}
	var errs []error
	for _, m := range append([]module{std}, ms...) {
		c, err := licensed(m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if m.linked {
			l.linked = append(l.linked, c)
		} else {
			l.tests = append(l.tests, c)
		}
	}
	assets, err := embedded()
	if err != nil {
		errs = append(errs, err)
	}
	l.linked = append(l.linked, assets...)
	return l, errors.Join(errs...)
}

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([-._].*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^notice([-._].*)?$`)
)

// maxText is far above any licence.
const maxText = 1 << 20

// licensed reads the licences of a module. One without any, or with one that is not allowed, is an error.
func licensed(m module) (component, error) {
	c := component{module: m}
	for _, dir := range []string{m.Dir, filepath.Join(m.Dir, "..")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return c, fmt.Errorf("%s: %w", m.Path, err)
		}
		for _, e := range entries {
			is := licenceFile.MatchString(e.Name())
			if !e.Type().IsRegular() || !is && !noticeFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			t, err := readText(filepath.Join(dir, e.Name()))
			if err != nil {
				return c, err
			}
			c.texts = append(c.texts, text{e.Name(), t})
			if is {
				c.licences = append(c.licences, identify(t)...)
			}
		}
		if len(c.licences) > 0 || m.Path != "std" {
			break // a distribution may keep the toolchain's licence beside it
		}
	}
	if m.Path == "std" && len(c.licences) == 0 {
		// Some distributions leave the file out. The library's licence is known.
		c.licences = []string{"BSD-3-Clause"}
	}
	return c, c.judge()
}

func (c *component) judge() error {
	slices.Sort(c.licences)
	c.licences = slices.Compact(c.licences)
	if len(c.licences) == 0 {
		return fmt.Errorf("%s %s: no licence that is known was found in %s", c.Path, c.Version, c.Dir)
	}
	for _, id := range c.licences {
		if !slices.Contains(allowed, id) {
			return fmt.Errorf("%s %s is under %s, which is not among those that may be linked in: %s", c.Path, c.Version, id, strings.Join(allowed, ", "))
		}
	}
	return nil
}

func readText(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("%s is too long for a licence", name)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n"), err
}

// marks are sentences that only the texts of these licences have.
var marks = []struct {
	id    string
	has   []string
	title bool // they stand at its head: other licences name it further down
}{
	{"AGPL-3.0", []string{"gnu affero general public license"}, true},
	{"LGPL", []string{"gnu lesser general public license"}, true},
	{"GPL", []string{"gnu general public license"}, true},
	{"GPL", []string{"general public license as published by the free software foundation"}, false},
	{"BUSL-1.1", []string{"business source license"}, true},
	{"SSPL-1.0", []string{"server side public license"}, true},
	{"MPL-2.0", []string{"mozilla public license", "version 2.0"}, true},
	{"Apache-2.0", []string{"apache license", "version 2.0", "terms and conditions for use, reproduction, and distribution"}, false},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy", `the software is provided "as is"`}, false},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "endorse or promote products derived from"}, false},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}, false},
	{"ISC", []string{"distribute this software for any purpose with or without fee is hereby granted, provided that the above"}, false},
	{"0BSD", []string{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted. "}, false},
	{"blessing", []string{"has been dedicated to the public domain"}, false},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}, false},
}

// headOf is where a licence says its name.
const headOf = 400

// identify gives the SPDX ids of the licences in a text.
func identify(t string) []string {
	t = strings.NewReplacer("“", `"`, "”", `"`, "``", `"`, "''", `"`).Replace(strings.ToLower(t))
	t = strings.Join(strings.Fields(strings.NewReplacer("*", " ", "//", " ", "#", " ").Replace(t)), " ")
	var ids []string
	for _, m := range marks {
		in := t
		if m.title {
			in = t[:min(len(t), headOf)]
		}
		if m.id == "BSD-2-Clause" && slices.Contains(ids, "BSD-3-Clause") {
			continue
		}
		if !slices.ContainsFunc(m.has, func(s string) bool { return !strings.Contains(in, s) }) && !slices.Contains(ids, m.id) {
			ids = append(ids, m.id)
		}
	}
	return ids
}

// embedded are works of others that lie in the repository and go into the binary: whoever adds one puts its licence beside it, as NAME-LICENSE or
// LICENSE in its folder.
func embedded() ([]component, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	var out []component
	err = filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !regexp.MustCompile(`(?i)licen[cs]e`).MatchString(d.Name()) || strings.HasSuffix(d.Name(), ".go") {
			return err
		}
		t, err := readText(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		c := component{module: module{Path: filepath.ToSlash(rel), Dir: filepath.Dir(path), linked: true}, licences: identify(t), texts: []text{{d.Name(), t}}}
		out = append(out, c)
		return c.judge()
	})
	return out, err
}

// repository is the folder of go.mod.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory: run it in the repository")
		}
		dir = up
	}
}

// page is docs/licences.md.
func (l *licences) page() string {
	var b strings.Builder
	b.WriteString("# Licences of what adsync is built with\n\n")
	b.WriteString("<!-- written by go test ./scripts/supply -update; do not edit -->\n\n")
	b.WriteString("Every module that is linked into a binary of a release, for any of its platforms, and those that only the tests need. Releases carry the full texts\n")
	b.WriteString("in `THIRD_PARTY.txt`. Nothing is modified; the sources are those that `go mod download MODULE@VERSION` fetches, and `go.sum` has their checksums.\n\n")
	b.WriteString("A module under another licence than " + strings.Join(allowed, ", ") + " fails the tests.\n")
	table := func(title string, cs []component) {
		b.WriteString("\n## " + title + "\n\n| module | version | licence |\n|---|---|---|\n")
		for _, c := range cs {
			name, version := "`"+c.Path+"`", c.Version
			switch {
			case c.Path == "std":
				name, version = "the Go standard library", "of the toolchain"
			case version == "":
				version = "in this repository"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, version, strings.Join(c.licences, " AND "))
		}
	}
	table("In the binaries", l.linked)
	table("In the tests only", l.tests)
	return b.String()
}

// notices are the texts that go with binaries.
func (l *licences) notices(w io.Writer) error {
	var b strings.Builder
	b.WriteString("adsync contains the works of others, under the licences below. The sources are those that `go mod download MODULE@VERSION` fetches.\n")
	for _, c := range l.linked {
		for _, t := range c.texts {
			fmt.Fprintf(&b, "\n%s\n%s %s: %s\n%s\n\n%s\n", strings.Repeat("=", 100), c.Path, c.Version, t.name, strings.Repeat("=", 100), strings.TrimRight(t.body, "\n"))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
