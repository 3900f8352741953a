// Package vaults follows references to secrets that remote stores keep: vault: (HashiCorp Vault and OpenBao), aws: (AWS Secrets Manager) and
// gcp: (Google Secret Manager). The vendors' own clients ask; what is common to all is here: one request for all who want the same, a
// short memory, bounded tries, and errors that name the cure.
//
// A store costs nothing until a reference names it. The build tags novault, noaws and nogcp leave a client out of the binary.
//
// Secrets travel as secret.Text. The package knows config's types and nothing else of the program.
package vaults

import (
	"context"

	"adsync/internal/config"
	"adsync/internal/secret"
	"adsync/internal/vaults/internal/source"
)

// store is one scheme.
type store struct {
	scheme string
	tag    string                            // the build tag that leaves it out
	name   string                            // for people
	open   func(config.Secrets) source.Store // nil: not in this build
}

var stores = []store{
	{"vault", "novault", "HashiCorp Vault", openVault},
	{"aws", "noaws", "AWS Secrets Manager", openAWS},
	{"gcp", "nogcp", "Google Secret Manager", openGoogle},
}

// Open gives the stores by scheme, as config.Options wants them. It asks nobody and reads nothing. Those that were left out of this build are
// there too: they say so of every reference.
func Open(s config.Secrets) map[string]config.Resolver {
	out := make(map[string]config.Resolver, len(stores))
	for _, st := range stores {
		if st.open == nil {
			out[st.scheme] = absent(st)
			continue
		}
		out[st.scheme] = newKeeper(st.open(s), s.Cache)
	}
	return out
}

// Built lists the schemes whose clients are in this build.
func Built() []string {
	var out []string
	for _, st := range stores {
		if st.open != nil {
			out = append(out, st.scheme)
		}
	}
	return out
}

// absent stands in for a store that was left out of this build.
type absent store

// Check says of every reference that it cannot be followed.
func (a absent) Check(string) error {
	return &source.Error{
		Kind:    source.Misconfigured,
		Message: "is kept in " + a.name + ", whose client was left out of this build by the build tag " + a.tag,
		Hint:    "use a build without the tag " + a.tag + ", or env:NAME or file:PATH",
	}
}

// Resolve is never reached where Check was asked first.
func (a absent) Resolve(_ context.Context, ref string) (secret.Text, error) {
	return secret.Text{}, a.Check(ref)
}
