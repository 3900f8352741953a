package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The parts of CycloneDX 1.6 that are used.
type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []cdx        `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string `json:"timestamp,omitempty"`
	Component cdx    `json:"component"`
}

type cdx struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licences   []choice   `json:"licenses,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type choice struct {
	Licence struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// sbom describes a binary by what the toolchain wrote into it. The same binary gives the same bytes; the time is SOURCE_DATE_EPOCH, or left out.
func sbom(binary string, l *licences) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	if info.Path != program {
		return nil, fmt.Errorf("it is %s, not %s", info.Path, program)
	}
	body, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	known := map[string]component{}
	for _, c := range l.linked {
		known[c.Path] = c
	}
	b := bom{
		Format: "CycloneDX", Spec: "1.6", Version: 1, Serial: "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceOID, sum[:]).String(),
		Metadata: metadata{Component: cdx{
			Type: "application", Ref: "adsync", Name: filepath.Base(binary), Version: os.Getenv("VERSION"), Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
		}},
	}
	for _, s := range info.Settings {
		b.Metadata.Component.Properties = append(b.Metadata.Component.Properties, property{"go:build:" + s.Key, s.Value})
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		n, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return nil, errors.New("SOURCE_DATE_EPOCH is not a number of seconds")
		}
		b.Metadata.Timestamp = time.Unix(n, 0).UTC().Format(time.RFC3339)
	}
	add := func(path, version, name string, props ...property) {
		c := cdx{Type: "library", Name: path, Version: version, PURL: name, Ref: name, Properties: props}
		for _, id := range known[path].licences {
			var ch choice
			ch.Licence.ID = id
			c.Licences = append(c.Licences, ch)
		}
		b.Components = append(b.Components, c)
	}
	add("std", strings.TrimPrefix(info.GoVersion, "go"), "pkg:golang/std@"+strings.TrimPrefix(info.GoVersion, "go"))
	for _, m := range info.Deps {
		if m.Replace != nil || m.Sum == "" {
			return nil, fmt.Errorf("%s is not from the module cache", m.Path)
		}
		if _, ok := known[m.Path]; !ok {
			return nil, fmt.Errorf("%s is in the binary and not in the build list", m.Path)
		}
		add(m.Path, m.Version, "pkg:golang/"+m.Path+"@"+url.PathEscape(m.Version), property{"go:sum", m.Sum})
	}
	for _, c := range l.linked {
		if c.Version == "" {
			add(c.Path, "", "")
			b.Components[len(b.Components)-1].Ref = c.Path
		}
	}
	slices.SortFunc(b.Components, func(x, y cdx) int { return cmp.Compare(x.Ref, y.Ref) })
	root := dependency{Ref: "adsync"}
	for _, c := range b.Components {
		root.DependsOn = append(root.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{root}
	out, err := json.MarshalIndent(b, "", "  ")
	return append(out, '\n'), err
}
