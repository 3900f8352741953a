package hashicorp

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"adsync/internal/config"
	"adsync/internal/secret"
	"adsync/internal/vaults/internal/source"
)

// Times of logins.
const (
	refusedHolds = time.Minute      // a login that was refused is not tried again with the same credentials
	loginPause   = time.Minute      // a login younger than that is not thought to have been taken back
	margin       = 10 * time.Second // what ends within that is taken as ended
)

// jwtFile is where Kubernetes puts a pod's token.
const jwtFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// session is a login. The zero value is none.
type session struct {
	client *api.Client // that sends it
	token  secret.Text
	began  time.Time
	ends   time.Time // zero: never, or not known
	own    bool      // adsync logged in by itself
	loan   *loan     // that extends it; nil where it cannot be extended
}

func (s session) alive(now time.Time) bool {
	if s.token.Empty() {
		return false
	}
	ends := s.ends
	if s.loan != nil {
		ends = s.loan.end()
	}
	return ends.IsZero() || now.Add(margin).Before(ends)
}

// refusal is a login that Vault refused.
type refusal struct {
	with  [sha256.Size]byte // what it was asked with
	until time.Time
	err   *source.Error
}

// enter gives a login that holds, and logs in where there is none. ended is one that Vault does not know any more.
func (s *Store) enter(ctx context.Context, ended session) (session, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return session{}, source.Network(s.name(), ctx.Err(), "others are logging in at the same time; run again")
	}
	if err := s.open(); err != nil {
		return session{}, err
	}
	now := time.Now()
	if s.session.alive(now) {
		switch {
		case ended.client == nil, s.session.token.Reveal() != ended.token.Reveal():
			return s.session, nil
		case s.session.own && now.Sub(s.session.began) < loginPause:
			return s.session, nil // a new token would do no better: its policies do not even let it look at itself
		}
	}
	next, err := s.login(ctx)
	if err != nil {
		return session{}, err
	}
	if s.session.loan != nil {
		s.session.loan.stop()
		s.forget(s.session.loan)
	}
	s.session = next
	return next, nil
}

func (s *Store) login(ctx context.Context) (session, error) {
	switch s.set.Auth {
	case config.AuthAppRole:
		role, err := read("role_id", s.set.RoleID)
		if err != nil {
			return session{}, err
		}
		id, err := read("secret_id", s.set.SecretID)
		if err != nil {
			return session{}, err
		}
		body := map[string]any{"role_id": role.Reveal()}
		if !id.Empty() {
			body["secret_id"] = id.Reveal()
		}
		return s.logIn(ctx, body, "check role_id and secret_id: a secret id ends after a time or a number of uses", role, id)
	case config.AuthKubernetes:
		name := or(s.set.JWTFile, jwtFile)
		jwt, err := readFile(name)
		if err != nil {
			return session{}, &source.Error{Kind: source.Misconfigured, Message: "the service account token cannot be read: " + err.Error(), Hint: "adsync must run in a pod, or jwt_file: must name its token"}
		}
		return s.logIn(ctx, map[string]any{"role": s.set.Role, "jwt": jwt.Reveal()}, "check role:, mount:, and which service accounts and namespaces the role is bound to", jwt)
	}
	return s.given(ctx)
}

func read(what string, from config.Kept) (secret.Text, error) {
	if from == nil {
		return secret.Text{}, nil
	}
	v, err := from()
	if err != nil {
		return v, &source.Error{Kind: source.Misconfigured, Message: what + " cannot be read: " + err.Error(), Hint: "check secrets: vault: " + what + ":"}
	}
	return v, nil
}

// maxTokenFile is far above any token.
const maxTokenFile = 64 << 10

func readFile(name string) (secret.Text, error) {
	info, err := os.Stat(name)
	if err != nil {
		return secret.Text{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxTokenFile {
		return secret.Text{}, errors.New(name + " is not a small file")
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return secret.Text{}, err
	}
	v := secret.New(strings.TrimSpace(string(b)))
	if v.Empty() {
		return v, errors.New(name + " is empty")
	}
	return v, nil
}

// logIn asks for a token. Credentials that were refused are not sent again for a while: Vault locks those out who try too often.
func (s *Store) logIn(ctx context.Context, body map[string]any, hint string, sent ...secret.Text) (session, error) {
	sum := sha256.New()
	for _, v := range sent {
		_, _ = sum.Write([]byte(v.Reveal() + "\x00"))
	}
	with := [sha256.Size]byte(sum.Sum(nil))
	if s.refused.err != nil && s.refused.with == with && time.Now().Before(s.refused.until) {
		return session{}, s.refused.err
	}
	c, err := s.with(secret.Text{})
	if err != nil {
		return session{}, err
	}
	ctx, answer := source.Watch(ctx)
	got, err := c.Logical().WriteWithContext(ctx, "auth/"+s.set.Mount+"/login", body)
	if err != nil || got == nil || got.Auth == nil || got.Auth.ClientToken == "" {
		e := s.failure(c, err, answer)
		if e.Status >= 400 && e.Status < 500 && !e.Passing() {
			said := ""
			if re, ok := errors.AsType[*api.ResponseError](err); ok && !re.RawError {
				said = ": " + source.Said(strings.Join(re.Errors, "; "), sent...)
			}
			e = &source.Error{Kind: source.LoginRefused, Status: e.Status, Message: s.name() + " refuses the login by " + s.set.Auth + " at auth/" + s.set.Mount + said, Hint: hint}
			s.refused = refusal{with, time.Now().Add(refusedHolds), e}
		}
		return session{}, e
	}
	s.refused = refusal{}
	token := secret.New(got.Auth.ClientToken)
	if c, err = s.with(token); err != nil {
		return session{}, err
	}
	return s.hold(session{client: c, token: token, own: true}, time.Duration(got.Auth.LeaseDuration)*time.Second, got.Auth.Renewable), nil
}

// hold makes a login one that lasts for ttl (0: without end), and longer where Vault allows.
func (s *Store) hold(in session, ttl time.Duration, renewable bool) session {
	in.began = time.Now()
	if ttl <= 0 {
		return in
	}
	in.ends = in.began.Add(ttl)
	if renewable {
		in.loan = s.borrow(ttl, func(ctx context.Context) (*api.Secret, error) {
			return in.client.Auth().Token().RenewSelfWithContext(ctx, int(ttl/time.Second))
		})
	}
	return in
}

// given uses a token that somebody else got: of the settings, of VAULT_TOKEN, or of the file that `vault login` writes.
func (s *Store) given(ctx context.Context) (session, error) {
	token, err := s.givenToken()
	if err != nil {
		return session{}, err
	}
	agent := s.set.Address == "" && s.getenv(api.EnvVaultAgentAddr) != ""
	if token.Empty() && !agent {
		return session{}, &source.Error{Kind: source.LoginRefused, Message: "there is no token for Vault", Hint: "set VAULT_TOKEN, run vault login, or write secrets: vault: with a way to log in"}
	}
	c, err := s.with(token)
	if err != nil || token.Empty() { // an agent puts in its own
		return session{client: c}, err
	}
	ctx, answer := source.Watch(ctx)
	self, err := c.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil || self == nil {
		e := s.failure(c, err, answer)
		if e.Kind != source.Denied {
			return session{}, e
		}
		// Either the token has ended or its policies do not let it look at itself: what it is for will tell.
		return s.hold(session{client: c, token: token}, 0, false), nil
	}
	ttl, _ := self.TokenTTL()
	renewable, _ := self.TokenIsRenewable()
	return s.hold(session{client: c, token: token}, ttl, renewable), nil
}

func (s *Store) givenToken() (secret.Text, error) {
	if s.set.Token != nil {
		return read("token", s.set.Token)
	}
	if v := strings.TrimSpace(s.getenv(api.EnvVaultToken)); v != "" {
		return secret.New(v), nil
	}
	home := or(s.getenv("HOME"), s.getenv("USERPROFILE"))
	if home == "" {
		return secret.Text{}, nil
	}
	v, err := readFile(filepath.Join(home, ".vault-token"))
	if err != nil {
		return secret.Text{}, nil // there is none: the message about a token that is missing says where it is looked for
	}
	return v, nil
}

// blame finds out whether the token or its policies are why Vault denies.
func (s *Store) blame(ctx context.Context, c *api.Client, denied *source.Error) *source.Error {
	ctx, answer := source.Watch(ctx)
	self, err := c.Auth().Token().LookupSelfWithContext(ctx)
	if err == nil {
		if policies, _ := self.TokenPolicies(); len(policies) > 0 {
			denied.Message += "; the token has the policies " + source.Said(strings.Join(policies, ", "))
		}
		return denied
	}
	if answer.Status() != http.StatusForbidden {
		return denied
	}
	hint := "get a new one: vault login, or VAULT_TOKEN"
	if s.set.Auth != config.AuthToken {
		hint = "check that the way to log in gives tokens that last"
	}
	return &source.Error{Kind: source.Expired, Status: http.StatusForbidden, Message: s.name() + " does not know the token any more, or the token may do nothing at all", Hint: hint}
}
