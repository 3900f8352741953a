package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// platforms are those that releases are built for.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

// program is what is released.
const program = "adsync/cmd/adsync"

// module is one that the program, or its tests, are built with.
type module struct {
	Path, Version string
	Dir           string
	Main          bool
	linked        bool // into some binary of a release
}

// modules are those of all platforms, by path: the program's and, where tests is set, those that only the tests need.
func modules(ctx context.Context) ([]module, error) {
	found := map[string]module{}
	for _, p := range platforms {
		goos, arch, _ := strings.Cut(p, "/")
		ms, err := listModules(ctx, []string{"GOOS=" + goos, "GOARCH=" + arch, "CGO_ENABLED=0"}, "-deps", program)
		if err != nil {
			return nil, err
		}
		for _, m := range ms {
			m.linked = true
			found[m.Path] = m
		}
	}
	ms, err := listModules(ctx, nil, "-deps", "-test", "adsync/...")
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		if _, known := found[m.Path]; !known {
			found[m.Path] = m
		}
	}
	out := make([]module, 0, len(found))
	for _, m := range found {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b module) int { return cmp.Compare(a.Path, b.Path) })
	return out, nil
}

// listModules asks the toolchain which modules the packages come from.
func listModules(ctx context.Context, env []string, args ...string) ([]module, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-mod=readonly", "-json=Module"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	seen := map[string]bool{}
	var out []module
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		var p struct {
			Module *struct {
				Path, Version, Dir string
				Main               bool
				Replace            *struct{ Path, Version, Dir string }
			}
		}
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}
		m := p.Module
		if m == nil || m.Main || seen[m.Path] {
			continue
		}
		seen[m.Path] = true
		if m.Replace != nil {
			return nil, fmt.Errorf("%s is replaced by %s: a release is built from what go.sum names", m.Path, m.Replace.Path)
		}
		if m.Dir == "" {
			return nil, fmt.Errorf("%s %s is not in the module cache: run `go mod download`", m.Path, m.Version)
		}
		out = append(out, module{Path: m.Path, Version: m.Version, Dir: m.Dir})
	}
}

// standard is the library that comes with the toolchain.
func standard(ctx context.Context) (module, error) {
	b, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION").Output()
	root, version, ok := strings.Cut(strings.TrimSpace(string(b)), "\n")
	if err == nil && (!ok || root == "") {
		err = errors.New("go env does not say where the toolchain is")
	}
	return module{Path: "std", Version: version, Dir: root, linked: true}, err
}
