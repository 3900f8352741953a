package config

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"adsync/internal/secret"
)

// Resolver reads the secrets of one scheme. Implementations for remote stores bound their own time besides ctx, keep what they read for a
// short while, and may be called by many at once; an error says what to do and never holds a secret.
//
// What a Resolver can do beyond that it says by having more methods: Checker, Freshener, and Close() where something is to be given back.
type Resolver interface {
	// Resolve gives the value that ref names: what stands behind "scheme:". It is called again to see whether the value has changed.
	Resolve(ctx context.Context, ref string) (secret.Text, error)
}

// Checker is a Resolver that can tell, without asking anybody, whether a reference is well written and can be followed at all.
type Checker interface{ Check(ref string) error }

// Freshener is a Resolver that keeps what it read, and can be told to read anew.
type Freshener interface {
	// Fresh is Resolve for a value that was read at since or later.
	Fresh(ctx context.Context, ref string, since time.Time) (secret.Text, error)
}

// The schemes. Those that are known and not in this build are refused with words of their own, so that a name is never taken for a password.
var (
	localSchemes  = []string{"env", "file"}
	remoteSchemes = []string{"vault", "aws", "gcp"}
)

// Settings that belong to no connection.
const (
	ofDatabase = -1
	ofStore    = -2 // how a store of secrets is reached: read from this machine alone, and not by Resolve
)

// lateSecret is a setting whose value is read from where it is kept, and can be read again.
type lateSecret struct {
	connection int // index into Config.Connections, or ofDatabase
	field      *Field
	scheme     string
	ref        string
	written    string // as the file has it, with the names of variables and not what they hold
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
