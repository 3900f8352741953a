package config

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"adsync/internal/secret"
)

// Resolver reads the secrets of one scheme. Implementations for remote stores bound their own time besides ctx; an error says what to
// do and never holds a secret.
type Resolver interface {
	// Resolve gives the value that ref names: what stands behind "scheme:". It is called again to see whether the value has changed.
	Resolve(ctx context.Context, ref string) (secret.Text, error)
}

// The schemes. Those that are known and not in this build are refused with words of their own, so that a name is never taken for a password.
var (
	localSchemes  = []string{"env", "file"}
	remoteSchemes = []string{"vault", "aws", "gcp"}
)

// lateSecret is a setting whose value is read from where it is kept, and can be read again.
type lateSecret struct {
	connection int // index into Config.Connections; -1: the database
	field      Field
	scheme     string
	ref        string
	at         place
	path       string
}

// secretScheme splits a reference. Only what is written counts: the value of a variable is never taken for a reference.
func secretScheme(written string) (scheme string, ok bool) {
	for _, s := range append(localSchemes, remoteSchemes...) {
		if strings.HasPrefix(written, s+":") {
			return s, true
		}
	}
	return "", false
}

// Resolve reads every secret reference again and fills in what it finds: what a remote store keeps is first read here, what a file keeps may
// have changed. The error is an *Error that names all references that could not be read; the values of those stay as they were.
func (c *Config) Resolve(ctx context.Context) error {
	var r report
	for _, l := range c.late {
		res := c.resolvers[l.scheme]
		if res == nil {
			continue // local and fixed: env
		}
		v, err := res.Resolve(ctx, l.ref)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			r.at(l.at, l.path, l.scheme+":…", "could not be read: "+err.Error(), "check the reference, and the rights of this process")
			continue
		}
		if f := c.fill(l, v); f != nil {
			r.at(l.at, l.path, l.scheme+":…", f.message, f.cure)
		}
	}
	_, err := r.result()
	return err
}

func (c *Config) fill(l lateSecret, v secret.Text) *fault {
	if v.Empty() {
		return faultf("give the secret a value", "is empty where it is kept")
	}
	parsed, f := l.field.kind.parse(v.Reveal())
	if f != nil {
		return f
	}
	if l.connection < 0 {
		c.Database = parsed.(Database)
		return nil
	}
	l.field.set(&c.Connections[l.connection], parsed)
	return nil
}

// fileSecrets reads file: references. A relative path begins at the configuration file's folder.
type fileSecrets struct{ dir string }

func (fs fileSecrets) Resolve(_ context.Context, ref string) (secret.Text, error) {
	v, _, err := fs.read(ref)
	return v, err
}

func (fs fileSecrets) read(ref string) (v secret.Text, open bool, err error) {
	ref = strings.TrimPrefix(ref, "//")
	if !filepath.IsAbs(ref) {
		ref = filepath.Join(fs.dir, ref)
	}
	f, err := readFile(ref, maxSecretFile, false)
	if err != nil {
		return secret.Text{}, false, fmt.Errorf("%s: %s", ref, fileMessage(err))
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(f.data), "\n"), "\r")
	if s == "" {
		return secret.Text{}, f.open, errors.New(ref + ": is empty")
	}
	return secret.New(s), f.open, nil
}
