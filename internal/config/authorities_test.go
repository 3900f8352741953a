package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// certificate is one that vouches for itself, in PEM.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Authorities are read from beside the file, for one connection or by default for all, and from beside .env where there is no file.
func TestAuthorities(t *testing.T) {
	ours, theirs := certificate(t), certificate(t)+certificate(t)
	dir := dirWith(t, map[string]string{"ours.pem": ours, "theirs.pem": "a comment\n" + theirs, DefaultFile: one("") + `
      - platform: adplatform
        name: second
        url: https://ads.example.com
        ca_file: theirs.pem
        credentials: {email: "a@example.com", password: "${P}"}
defaults: {ca_file: ours.pem}
`})
	c, err := Load(Options{Dir: dir, Strict: true, Environ: []string{"P=x"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Connections[0].CA != ours || !strings.HasSuffix(c.Connections[1].CA, theirs) {
		t.Errorf("%+v", c.Connections)
	}
	for _, name := range []string{"ours.pem", filepath.Join(dir, "ours.pem")} {
		c, err = Load(Options{Dir: dir, ConfigFile: "", NoFiles: true, Environ: append(strings.Fields("AD_PLATFORM_CA_FILE="+name), needed...)})
		if err != nil || c.Connections[0].CA != ours {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is no file of certificates is refused, with its name and a cure.
func TestWrongAuthorities(t *testing.T) {
	good := certificate(t)
	for content, want := range map[string]string{
		"":                                 "holds no certificate",
		"c4n4ry":                           "holds no certificate",
		strings.Replace(good, "M", "!", 1): "holds no certificate",
		good + "-----BEGIN PRIVATE KEY-----\nYzRuNHJ5\n-----END PRIVATE KEY-----\n": "holds a private key",
		good + "-----BEGIN CERTIFICATE-----\nYzRuNHJ5\n-----END CERTIFICATE-----\n": "holds a certificate that cannot be read",
		good + "-----BEGIN PUBLIC KEY-----\nYzRuNHJ5\n-----END PUBLIC KEY-----\n":   "holds something else than certificates",
		strings.Repeat("x", maxCAFile+1):                                            "is too big",
	} {
		dir := dirWith(t, map[string]string{"ca.pem": content, DefaultFile: one("~ca_file: ca.pem\n")})
		_, err := Load(Options{Dir: dir, Environ: []string{"P=x"}})
		ps := problems(t, err)
		if len(ps) != 1 || !strings.Contains(ps[0].String(), want) || !strings.Contains(ps[0].String(), "ca_file: \"ca.pem\"") || ps[0].Cure == "" || ps[0].Line == 0 {
			t.Errorf("%.40q: %v", content, err)
		}
		if strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("the content is in %v", err)
		}
	}
	dir := dirWith(t, map[string]string{DefaultFile: one("~ca_file: none.pem\n")})
	if _, err := Load(Options{Dir: dir, Environ: []string{"P=x"}}); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("%v", err)
	}
}

// Whoever can change the file decides whom adsync trusts: a warning, and an error where it is strict.
func TestAuthoritiesThatOthersCanChange(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such bits")
	}
	dir := dirWith(t, map[string]string{"ca.pem": certificate(t), DefaultFile: one("~ca_file: ca.pem\n")})
	if err := os.Chmod(filepath.Join(dir, "ca.pem"), 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Options{Dir: dir, Environ: []string{"P=x"}})
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), "everybody on this machine can change whom adsync trusts") {
		t.Errorf("%v, %+v", err, c)
	}
	if _, err := Load(Options{Dir: dir, Strict: true, Environ: []string{"P=x"}}); err == nil {
		t.Error("strict takes it")
	}
}

// A file of authorities is refused, or every one of its certificates can be used.
func FuzzAuthorities(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nYzRuNHJ5\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nYzRuNHJ5\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if wrongAuthorities(data) == "" && !x509.NewCertPool().AppendCertsFromPEM(data) {
			t.Error("it is taken, and holds nothing that can be used")
		}
	})
}
