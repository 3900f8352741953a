package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkLoad reads a file of 10,000 connections.
func BenchmarkLoad(b *testing.B) {
	var s strings.Builder
	s.WriteString("clients:\n")
	for i := range 10_000 {
		fmt.Fprintf(&s, "  - id: c%d\n    connections:\n      - platform: adplatform\n        url: https://ads.example.com\n        credentials:\n          email: ${E}\n          password: ${P}\n        quota: 10/1m\n        schedule: every 15m\n", i)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, DefaultFile), []byte(s.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := Load(Options{Dir: dir, Environ: []string{"E=x", "P=x"}})
		if err != nil || len(c.Connections) != 10_000 {
			b.Fatal(err)
		}
	}
}
