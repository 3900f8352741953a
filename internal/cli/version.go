package cli

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strings"
)

// version and commit are set by the linker for releases: what the toolchain would write about the repository differs where there is none.
var version, commit string

type versionCmd struct{}

type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Time    string `json:"time"`
	Changed bool   `json:"changed"` // built from a tree with changes that no commit has
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func buildInfo() build {
	b := build{Version: version, Commit: commit, Changed: strings.HasSuffix(version, "-dirty"), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = cmp.Or(b.Commit, s.Value)
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Changed = b.Changed || s.Value == "true"
			}
		}
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
	}
	b.Version = cmp.Or(b.Version, "development")
	return b
}

// buildVersion is the version alone.
func buildVersion() string { return buildInfo().Version }

func (c *versionCmd) Run(a *app) error {
	b := buildInfo()
	if a.JSON {
		return a.writeJSON(b)
	}
	a.stdout.printf("adsync %s", b.Version)
	if b.Commit != "" {
		a.stdout.printf(" (commit %.12s", b.Commit)
		if b.Changed {
			a.stdout.printf(" with changes")
		}
		a.stdout.printf(")")
	}
	a.stdout.printf(", %s, %s/%s\n", b.Go, b.OS, b.Arch)
	return nil
}
