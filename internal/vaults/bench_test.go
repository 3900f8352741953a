//go:build !novault

package vaults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"adsync/internal/config"
	"adsync/internal/vaults/fakevault"
)

// BenchmarkResolve follows the references of many connections, each with a path of its own or all with one, to a fake on loopback.
func BenchmarkResolve(b *testing.B) {
	const connections = 1000
	for name, path := range map[string]string{"own": "secret/data/c%d", "shared": "secret/data/c0"} {
		b.Run(name, func(b *testing.B) {
			v := fakevault.New()
			var src strings.Builder
			src.WriteString("clients:\n")
			for i := range connections {
				v.Put("", fmt.Sprintf("secret/c%d", i), map[string]any{"email": "a@example.com", "password": "x"})
				p := path
				if strings.Contains(p, "%") {
					p = fmt.Sprintf(p, i)
				}
				fmt.Fprintf(&src, "  - {id: c%d, connections: [{platform: adplatform, url: https://ads.example.com, credentials: {email: \"vault:%s#email\", password: \"vault:%s#password\"}}]}\n", i, p, p)
			}
			dir := b.TempDir()
			if err := os.WriteFile(filepath.Join(dir, config.DefaultFile), []byte(src.String()), 0o600); err != nil {
				b.Fatal(err)
			}
			env := []string{"VAULT_ADDR=" + v.Serve(b).URL, "VAULT_TOKEN=" + fakevault.Root}
			for b.Loop() {
				b.StopTimer()
				c, err := config.Load(config.Options{Dir: dir, Environ: env, Stores: Open})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := c.Resolve(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				c.Close()
				b.StartTimer()
			}
		})
	}
}
