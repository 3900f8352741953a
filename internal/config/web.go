package config

import (
	"fmt"
	"net"
	"strconv"

	"adsync/internal/ads"
	"adsync/internal/secret"
)

// Web says where the dashboard is and who may look at it.
type Web struct {
	Listen      string      // host:port
	Password    secret.Text // of people; empty: nobody has to log in, which is for loopback alone
	Token       secret.Text // of programs: Authorization: Bearer
	MetricsOpen bool        // /metrics wants no token
}

// DefaultListen is on this machine only.
const DefaultListen = "127.0.0.1:8080"

// Local says that the address can be reached from this machine only.
func (w Web) Local() bool {
	host, _, err := net.SplitHostPort(w.Listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// ofWeb marks the secrets of the web pages.
const ofWeb = -3

var listenAddress = text("address", "a host and a port, such as 127.0.0.1:8080", 200, func(s string) *fault {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return faultf("write host:port; :8080 is every address of the machine", "is no address")
	}
	return nil
})

// webSecret is a password or token that is long enough to stand up to guessing.
var webSecret = func() *kind {
	k := *credential
	parse := k.parse
	k.parse = func(s string) (any, *fault) {
		if len(s) < 12 {
			return nil, faultf("make one of 12 bytes or more: openssl rand -base64 24", "is shorter than 12 bytes")
		}
		return parse(s)
	}
	return &k
}()

// webFields are the settings below web:.
var webFields = []Field{
	field(Field{
		Name: "listen", Default: DefaultListen, Example: "0.0.0.0:8080",
		Help: "Where `adsync serve` listens; `--listen` wins. An address that others can reach needs a password or a token.",
	}, listenAddress, nil),
	field(Field{
		Name: "password", Secret: true, Implied: "no login, on this machine only", Example: "${ADSYNC_WEB_PASSWORD}",
		Help: "What people log in to the dashboard with. At least 12 bytes.",
	}, webSecret, nil),
	field(Field{
		Name: "token", Secret: true, Implied: "programs log in with the password", Example: "${ADSYNC_WEB_TOKEN}",
		Help: "What programs send as `Authorization: Bearer`, for the API and `/metrics`. At least 12 bytes.",
	}, webSecret, nil),
	field(Field{
		Name: "metrics_open", Default: "false", Example: "true",
		Help: "Whether `/metrics` may be read without a token. `/healthz` and `/readyz` always may.",
	}, boolean, nil),
}

func (w *Web) set(name string, v any) {
	switch name {
	case "listen":
		w.Listen = v.(string)
	case "password":
		w.Password = secret.New(v.(string))
	case "token":
		w.Token = secret.New(v.(string))
	case "metrics_open":
		w.MetricsOpen = v.(bool)
	}
}

func (l *loader) web(n *node) {
	w := &l.cfg.Web
	w.Listen = DefaultListen
	if n == nil || n.kind == nullNode {
		return
	}
	s := l.settings(setting{n, "web"}, webFields)
	remote := false
	for i := range webFields {
		f := &webFields[i]
		at, has := s[f.Name]
		if !has || at.node == nil {
			continue
		}
		v, in, ok := l.read(f, at, ofWeb)
		if f.Secret && in.scheme != "" && !ok {
			remote = true // it is read later, or has been blamed
		}
		if !ok {
			continue
		}
		w.set(f.Name, v)
		if f.Secret && in.scheme == "" && in.literal {
			l.clear(in)
		}
	}
	if !w.Local() && w.Password.Empty() && w.Token.Empty() && !remote {
		at := s["listen"]
		l.r.at(at.node.at, at.path, w.Listen, "can be reached from other machines, and there is no login", "give `web:` a `password:` (and a `token:` for programs), or listen on "+DefaultListen)
	}
}

// Guarded says that the pages may be served there: nobody else reaches the address, or there is a login.
func (w Web) Guarded() error {
	if w.Local() || !w.Password.Empty() || !w.Token.Empty() {
		return nil
	}
	return fmt.Errorf("%s can be reached from other machines, and there is no login", ads.Printable(w.Listen, 100))
}
