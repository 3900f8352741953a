package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/licences.md")

// collected is what the module cache says, for all tests.
func collected(t *testing.T) *licences {
	t.Helper()
	l, err := collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The page has every module that goes into a binary, as it is now, under a licence that allows it.
func TestLicencesPage(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what the tests need differs by system: the page says what they need on Linux")
	}
	page, name := collected(t).page(), filepath.Join("..", "..", "docs", "licences.md")
	if *update {
		if err := os.WriteFile(name, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page {
		t.Error("docs/licences.md is out of date: go test ./scripts/supply -update")
	}
}

func TestIdentify(t *testing.T) {
	const mit = `Permission is hereby granted, free of charge, to any person
obtaining a copy of this software … THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY`
	const bsd = "Redistribution and use in source and binary forms, with or without\n// modification, are permitted"
	for _, c := range []struct{ text, want string }{
		{mit, "MIT"},
		{"// " + strings.ReplaceAll(mit, "\n", "\n// "), "MIT"},
		{strings.ReplaceAll(mit, `"AS IS"`, "“AS IS”"), "MIT"},
		{bsd, "BSD-2-Clause"},
		{bsd + " may be used to endorse or promote products derived from this software", "BSD-3-Clause"},
		{"Apache License\n  Version 2.0, January 2004\nTERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION", "Apache-2.0"},
		{"Mozilla Public License Version 2.0\n" + strings.Repeat("text ", 200) + "GNU Affero General Public License, Version 3.0", "MPL-2.0"},
		{"GNU AFFERO GENERAL PUBLIC LICENSE Version 3", "AGPL-3.0"},
		{"GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991", "GPL"},
		{mit + strings.Repeat(" text", 200) + " under the terms of the GNU General Public License as published by the Free Software Foundation", "GPL MIT"},
		{"Business Source License 1.1", "BUSL-1.1"},
		{mit + "\n" + bsd, "BSD-2-Clause MIT"},
		{"All rights reserved.", ""},
	} {
		got := identify(c.text)
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%.60q is %v, want %s", c.text, got, c.want)
		}
	}
}

// A module whose licence is unknown, or not among those that are allowed, is an error that names it.
func TestLicenceIsJudged(t *testing.T) {
	for text, want := range map[string]string{
		"GNU AFFERO GENERAL PUBLIC LICENSE": "is under AGPL-3.0",
		"All rights reserved.":              "no licence that is known",
		"":                                  "no licence that is known",
	} {
		dir := t.TempDir()
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, "LICENSE.txt"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := licensed(module{Path: "example.com/x", Version: "v1.2.3", Dir: dir})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "example.com/x v1.2.3") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// The texts that go with a binary have something of every module in it.
func TestNotices(t *testing.T) {
	l := collected(t)
	var b bytes.Buffer
	if err := l.notices(&b); err != nil {
		t.Fatal(err)
	}
	for _, c := range l.linked {
		if c.Path != "std" && !strings.Contains(b.String(), "\n"+c.Path+" "+c.Version+": ") {
			t.Errorf("%s has no text", c.Path)
		}
	}
}

// The list of a binary has exactly what the toolchain says is in it, each with its checksum and licence, and is the same each time.
func TestSBOM(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "adsync-here")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, program)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	t.Setenv("VERSION", "v9.8.7")
	l := collected(t)
	first, err := sbom(binary, l)
	if err != nil {
		t.Fatal(err)
	}
	again, err := sbom(binary, l)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("another one the second time (%v)", err)
	}
	var b bom
	if err := json.Unmarshal(first, &b); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if c := b.Metadata.Component; b.Metadata.Timestamp != "2023-11-14T22:13:20Z" || c.Version != "v9.8.7" || c.Hashes[0].Content != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v", b.Metadata)
	}
	byName := map[string]cdx{}
	for _, c := range b.Components {
		if len(c.Licences) == 0 {
			t.Errorf("%s has no licence", c.Name)
		}
		byName[c.Name] = c
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Deps {
		c, ok := byName[m.Path]
		if !ok || c.Version != m.Version || len(c.Properties) != 1 || c.Properties[0].Value != m.Sum {
			t.Errorf("%s %s: %+v", m.Path, m.Version, c)
		}
		delete(byName, m.Path)
	}
	if _, ok := byName["std"]; !ok {
		t.Error("the standard library is missing")
	}
	delete(byName, "std")
	for name, c := range byName {
		if c.Version != "" {
			t.Errorf("%s is not in the binary", name)
		}
	}
	if refs := b.Dependencies[0].DependsOn; len(refs) != len(b.Components) || !slices.IsSorted(refs) {
		t.Errorf("%d of %d components are depended on", len(refs), len(b.Components))
	}
	if _, err := sbom(os.Args[0], l); err == nil {
		t.Error("another program's binary is described")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"sbom"}, {"licences", "x"}, {"else"}} {
		if err := run(t.Context(), args, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "usage") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
