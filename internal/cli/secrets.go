package cli

import (
	"context"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/secret"
)

// liveSecrets reads credentials again from where they are kept, and makes the redactor know what it finds before anybody else does.
type liveSecrets struct {
	a   *app
	cfg *config.Config
}

// Renewable implements service.Secrets.
func (l *liveSecrets) Renewable(ref ads.Ref) bool { return l.cfg.Renewable(ref) }

// ResolveConnection implements service.Secrets.
func (l *liveSecrets) ResolveConnection(ctx context.Context, ref ads.Ref) (config.Connection, error) {
	c, err := l.cfg.ResolveConnection(ctx, ref)
	l.a.red.Add(loginSecrets(c)...)
	return c, err
}

// Renew implements service.Secrets.
func (l *liveSecrets) Renew(ctx context.Context, c config.Connection) (config.Connection, bool, error) {
	now, changed, err := l.cfg.Renew(ctx, c)
	l.a.red.Add(loginSecrets(now)...)
	return now, changed, err
}

// pairBelow is the length below which a password is looked for together with its name too: parts of it in a longer base64 are too short to be told
// from other words.
const pairBelow = 8

// loginSecrets are what a connection logs in with.
func loginSecrets(c config.Connection) []secret.Text {
	if pw := c.Password.Reveal(); len(pw) < pairBelow {
		return append(c.Credentials.All(), c.Password, secret.New(c.Email.Reveal()+":"+pw))
	}
	return append(c.Credentials.All(), c.Password)
}
