package config

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func randomKey(seed byte) string {
	b := make([]byte, 32)
	for i := range b {
		b[i] = seed + byte(i)*7
	}
	return base64.StdEncoding.EncodeToString(b)
}

func TestTokenKey(t *testing.T) {
	const rest = "clients:\n  - id: acme\n    connections:\n      - platform: adplatform\n        url: https://ads.example.com\n        credentials: {email: a@example.com, password: '${PW}'}\n"
	one, two := randomKey(1), randomKey(2)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(two+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, key, want string
		keys            []string
	}{
		{"none", "", "", nil},
		{"one", "token_key: ${K1}\n", "", []string{one}},
		{"a reference", "token_key: env:K1\n", "", []string{one}},
		{"a list", "token_key: [env:K1, 'file:" + file + "']\n", "", []string{one, two}},
		{"below each other", "token_key:\n  - ${K2}\n  - ${K1}\n", "", []string{two, one}},
		{"empty", "token_key:\n", "is empty", nil},
		{"an empty list", "token_key: []\n", "is an empty list", nil},
		{"a mapping", "token_key: {a: b}\n", "not a single value", nil},
		{"a list in a list", "token_key: [[env:K1]]\n", "not a single value", nil},
		{"no base64", "token_key: ${PW}\n", "is not base64", nil},
		{"short", "token_key: ${SHORT}\n", "holds 16 bytes, not 32", nil},
		{"not random", "token_key: ${ZEROS}\n", "is not random", nil},
		{"twice", "token_key: [env:K1, env:K2, env:K1]\n", "stands in the list already", nil},
		{"nine", "token_key: [" + strings.Repeat("env:K1, ", 9) + "]\n", "more than 8 keys", nil},
		{"not set", "token_key: ${NOWHERE}\n", "NOWHERE", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := loadYAML(t, tt.key+rest, "PW=hunter2!", "K1="+one, "K2="+two, "SHORT="+base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")), "ZEROS="+base64.StdEncoding.EncodeToString(make([]byte, 32)))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%v, want %q", err, tt.want)
				}
				for _, k := range []string{one, two, "hunter2!"} {
					if strings.Contains(err.Error(), k) {
						t.Error("the error holds a key")
					}
				}
				return
			}
			if err != nil || len(cfg.Warnings) != 0 || len(cfg.TokenKeys) != len(tt.keys) {
				t.Fatal(err, len(cfg.TokenKeys), cfg.Warnings)
			}
			if err := cfg.Resolve(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i, k := range tt.keys {
				if cfg.TokenKeys[i].Reveal() != k {
					t.Errorf("key %d is another", i)
				}
			}
			if out := fmt.Sprintf("%v %+v %#v", cfg.TokenKeys, cfg, cfg.TokenKeys); strings.Contains(out, one) || strings.Contains(out, two) {
				t.Error("a key is printed")
			}
		})
	}
	cfg, err := loadYAML(t, "token_key: "+one+"\n"+rest, "PW=hunter2!")
	if err != nil || len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0].String(), "in clear") {
		t.Errorf("%v, %v", cfg.Warnings, err)
	}
}
