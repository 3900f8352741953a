package hashicorp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/vault/api"

	"adsync/internal/ads"
	"adsync/internal/secret"
	"adsync/internal/vaults/internal/source"
)

// read asks for one path once.
func (s *Store) read(ctx context.Context, c *api.Client, doc string) (*source.Document, error) {
	path, query, _ := strings.Cut(doc, "?")
	var params map[string][]string
	if n, ok := strings.CutPrefix(query, "version="); ok {
		params = map[string][]string{"version": {n}}
	}
	ctx, answer := source.Watch(ctx)
	got, err := c.Logical().ReadWithDataWithContext(ctx, path, params)
	if err != nil || answer.Status() >= 300 && answer.Status() < 400 {
		return nil, s.failure(c, err, answer)
	}
	if got == nil {
		return nil, &source.Error{Kind: source.NoSecret, Status: answer.Status(), Message: s.name() + " has no secret at this path", Hint: "check mount, path and namespace; KV version 2 has data/ behind the mount: secret/data/acme"}
	}
	if answer.Status() == http.StatusNotFound {
		return nil, s.missing(got, path)
	}
	values := got.Data
	if inner, versioned := version2(got.Data); versioned {
		values = inner
	}
	if len(values) == 0 {
		return nil, &source.Error{Kind: source.NoSecret, Message: s.name() + " keeps nothing at this path", Hint: "store the secret there, or check the path"}
	}
	d := document(values)
	if got.LeaseID != "" {
		s.lend(c, d, got)
	}
	return d, nil
}

// version2 takes the envelope of KV version 2 off: values under "data", beside "metadata" with a version.
func version2(data map[string]any) (map[string]any, bool) {
	meta, ok := data["metadata"].(map[string]any)
	if !ok || len(data) != 2 {
		return nil, false
	}
	if _, ok := meta["version"].(json.Number); !ok {
		return nil, false
	}
	inner, ok := data["data"].(map[string]any)
	return inner, ok
}

func document(data map[string]any) *source.Document {
	values, odd := map[string]secret.Text{}, map[string]string{}
	for k, v := range data {
		switch v := v.(type) {
		case string:
			values[k] = secret.New(v)
		case json.Number:
			values[k] = secret.New(v.String())
		case bool:
			values[k] = secret.New(fmt.Sprint(v))
		case nil:
			odd[k] = "null"
		case []any:
			odd[k] = "a list"
		default:
			odd[k] = "an object"
		}
	}
	return source.Keyed(values, odd)
}

// missing explains a 404 that says more than that.
func (s *Store) missing(got *api.Secret, path string) error {
	e := &source.Error{Kind: source.NoSecret, Status: http.StatusNotFound, Message: s.name() + " has no secret at this path"}
	if meta, ok := got.Data["metadata"].(map[string]any); ok {
		version := ads.Printable(fmt.Sprint(meta["version"]), 20)
		if destroyed, _ := meta["destroyed"].(bool); destroyed {
			e.Message, e.Hint = s.name()+" had version "+version+" of this secret, and it was destroyed", "store the secret anew"
			return e
		}
		e.Message, e.Hint = s.name()+" had version "+version+" of this secret, and it was deleted", "vault kv undelete, or store the secret anew"
		return e
	}
	for _, w := range got.Warnings {
		if strings.Contains(w, "Invalid path for a versioned K/V") {
			mount, rest, _ := strings.Cut(path, "/")
			e.Message, e.Hint = s.name()+" keeps versions there (KV version 2), which have another path", "write vault:"+mount+"/data/"+rest+"#…, with data/ behind the mount"
			return e
		}
	}
	e.Hint = "check the path"
	return e
}

// failure makes an error of ours from one of the client's.
func (s *Store) failure(c *api.Client, err error, answer *source.Answer) *source.Error {
	asked := []secret.Text{secret.New(c.Token())}
	re, ok := errors.AsType[*api.ResponseError](err)
	status := answer.Status()
	switch {
	case status >= 300 && status < 400:
		to := "another address"
		if u, err := url.Parse(answer.Header("Location")); err == nil && u.Host != "" {
			to = u.Scheme + "://" + ads.Printable(u.Host, 100)
		}
		return &source.Error{Kind: source.Misconfigured, Status: status, Message: s.name() + " sends its callers to " + to + ", and the token goes to no host that was not named", Hint: "set the address (VAULT_ADDR, or secrets: vault: address:) to the one that is meant"}
	case !ok && status != 0 && !errors.Is(err, source.ErrTooBig) && !source.Broken(err):
		return &source.Error{Kind: source.BadAnswer, Status: status, Message: s.name() + " gave an answer that is not Vault's", Hint: "check the address, and what stands between"}
	case !ok && err == nil:
		return &source.Error{Kind: source.BadAnswer, Status: status, Message: s.name() + " gave no answer", Hint: "check the address"}
	case !ok && strings.Contains(err.Error(), "configured Vault token contains non-printable"):
		return &source.Error{Kind: source.LoginRefused, Message: "the token for Vault holds a character that no token has", Hint: "check where it comes from: a line break may have been taken for a part of it"}
	case !ok:
		return source.Network(s.name(), err, "check the address (VAULT_ADDR, or secrets: vault: address:), that Vault is up, and what stands between")
	}
	said := ""
	if !re.RawError {
		said = source.Said(strings.Join(re.Errors, "; "), asked...)
	}
	e := &source.Error{Status: re.StatusCode}
	switch {
	case re.StatusCode == http.StatusServiceUnavailable && strings.Contains(said, "sealed"):
		e.Kind, e.Message, e.Hint = source.Unavailable, s.name()+" is sealed", "whoever runs it must unseal it (vault operator unseal)"
		e.Wait = answer.Wait()
	case re.StatusCode == http.StatusTooManyRequests || re.StatusCode >= 500:
		e = source.Server(s.name(), re.StatusCode, said, answer.Wait())
	case re.StatusCode == http.StatusForbidden:
		e.Kind, e.Message, e.Hint = source.Denied, s.name()+" says: "+or(said, "permission denied"), "the token's policies must allow to read this path"
	case re.StatusCode == http.StatusNotFound:
		e.Kind, e.Message, e.Hint = source.NoSecret, s.name()+" has no secret at this path: "+or(said, "not found"), "check the path and its mount, and the namespace"
	default:
		e.Kind, e.Message, e.Hint = source.BadAnswer, fmt.Sprintf("%s refuses the request (HTTP %d): %s", s.name(), re.StatusCode, or(said, "no reason is given")), "check the path, and the namespace"
	}
	return e
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
