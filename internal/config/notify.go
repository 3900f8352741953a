package config

import (
	"net/url"
	"strings"

	"adsync/internal/secret"
)

// Notify says who is told of trouble.
type Notify struct {
	Webhook secret.Text // a URL; whoever knows it can write to the channel. Empty: nobody is told
}

// ofNotify marks the secrets of notifications.
const ofNotify = -5

// webhook is a URL that is a secret: nothing that is said about it repeats a part of it.
var webhook = func() *kind {
	k := *credential
	k.name, k.allowed = "URL or secret reference", "a URL such as https://hooks.example.com/services/…, as a secret reference"
	parse := k.parse
	k.parse = func(s string) (any, *fault) {
		v, f := parse(s)
		if f != nil {
			return nil, f
		}
		const cure = "copy the webhook's URL whole: it begins with https://"
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Opaque != "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return nil, faultf(cure, "is not a URL")
		case u.Scheme != "https" && u.Scheme != "http":
			return nil, faultf(cure, "does not begin with https:// or http://")
		case u.Hostname() == "":
			return nil, faultf(cure, "names no host")
		case u.User != nil:
			return nil, faultf("leave them out", "holds a name or a password (user:password@)")
		}
		return v, nil
	}
	return &k
}()

// notifyFields are the settings below notify:.
var notifyFields = []Field{
	field(Field{
		Name: "webhook", Secret: true, Implied: "nobody is told", Example: "${ADSYNC_WEBHOOK}",
		Help: "The URL that `adsync serve` posts a message to when a connection is in trouble, once a day while it lasts, and when it is over: JSON as Slack's incoming webhooks take it. The URL is a secret: whoever knows it can write there.",
	}, webhook, nil),
}

func (l *loader) notify(n *node) {
	if n == nil || n.kind == nullNode {
		return
	}
	s := l.settings(setting{n, "notify"}, notifyFields)
	for i := range notifyFields {
		f := &notifyFields[i]
		at, has := s[f.Name]
		if !has || at.node == nil {
			continue
		}
		v, in, ok := l.read(f, at, ofNotify)
		if !ok {
			continue
		}
		l.cfg.Notify.set(v)
		if in.scheme == "" && in.literal {
			l.clear(in)
		}
		l.r.plainWebhook(in.at, in.path, l.cfg.Notify.Webhook.Reveal())
	}
}

// plainWebhook warns of a webhook that is not encrypted, without repeating it.
func (r *report) plainWebhook(at place, path, hook string) {
	if PlainBeyondLoopback(hook) {
		r.warn(at, path, "", "is plain http to another machine: whoever listens in can read the messages and write some", "write https://")
	}
}

func (n *Notify) set(v any) { n.Webhook = secret.New(v.(string)) }
