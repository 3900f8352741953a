package apiclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

const dialTimeout = 10 * time.Second

// Idle connections to one origin, for all clients together: as many as may be in use at once, so that none is closed only to be opened again, within
// these bounds. Each is closed after the platform's IdleTimeout.
const (
	leastIdle = 64
	maxIdle   = 256
)

func newTransport(c SharedConfig, idle time.Duration) *http.Transport {
	dial := c.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext
	}
	t := &http.Transport{
		Proxy: c.Proxy,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &counted{Conn: conn}, nil
		},
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        idle,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    min(max(c.MaxInFlight, leastIdle), maxIdle),
		MaxResponseHeaderBytes: MaxHeader,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         32 << 10,
	}
	if t.Proxy == nil {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

// counted knows whether anything was written to a connection: net/http says that headers were written when they are in its buffer. It can be shut,
// since net/http writes a request even though it has been cancelled.
type counted struct {
	net.Conn
	written atomic.Int64
	shut    atomic.Bool
}

func (c *counted) Write(b []byte) (int, error) {
	if c.shut.Load() {
		return 0, errShut
	}
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// countedOf finds the counted connection below TLS; nil where there is none.
func countedOf(conn net.Conn) *counted {
	for range 4 {
		switch c := conn.(type) {
		case *counted:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
	return nil
}

// Codes of errors on the way that the next try would meet again.
const (
	codeTLS        = "tls"
	codeProxyAuth  = "proxy_auth"
	codeProxyPlain = "proxy_plain"
)

// codeSockets is the code of a connection that this machine had no file descriptor for: nobody's fault but ours.
const codeSockets = "no_socket"

var (
	errTimeout   = errors.New("time-out")
	errShut      = errors.New("the connection was shut before anything was written")
	errBodySize  = errors.New("body over 32 MiB")
	errStalled   = errors.New("the answer stalled")
	errPlain     = errors.New("the credentials would pass a proxy in the clear")
	errProxyAuth = errors.New("the proxy asks for authentication")
)

// throughPlainProxy refuses to send credentials over plain HTTP through a proxy, which would read them. The proxy is asked for something without
// credentials first, so that its own troubles are named as such.
func (c *Client) throughPlainProxy(ctx context.Context) error {
	if c.base.Scheme != "http" {
		return nil
	}
	u := *c.base
	u.Path += c.spec.HealthPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	if via, err := c.http.Proxy(req); via == nil || err != nil {
		return err
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusProxyAuthRequired {
		return errProxyAuth
	}
	return errPlain
}

// redirect refuses: credentials go to the origin they belong to and nowhere else.
func redirect(base *url.URL, resp *http.Response) platform.Verdict {
	to, err := base.Parse(resp.Header.Get("Location"))
	where := "an address that cannot be read"
	if err == nil {
		where = "origin " + ads.Printable(to.Scheme+"://"+to.Host, 120)
	}
	return platform.Verdict{
		Class: ads.ClassPermanent, Code: "redirect", Message: "refused redirect to " + where,
		Hint: "check the connection's url: the platform points elsewhere. Credentials are sent to no other address",
	}
}

// transportError names what went wrong on the way, without any address but the host's, and never a secret. handshake: the error is the
// TLS handshake's.
func (c *Client) transportError(ctx context.Context, err error, handshake bool) platform.Verdict {
	v := func(class ads.Class, code, message, hint string) platform.Verdict {
		return platform.Verdict{Class: class, Code: code, Message: message, Hint: hint}
	}
	text := err.Error()
	has := func(s string) bool { return strings.Contains(text, s) }
	dns, isDNS := errors.AsType[*net.DNSError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, errBodySize):
		return v(ads.ClassTransient, "body_size", "body over 32 MiB", "")
	case errors.Is(err, errStalled):
		return v(ads.ClassTransient, "stalled", fmt.Sprintf("the answer stalled: nothing came for %s", c.patience()), "")
	case errors.Is(err, errProxyAuth), has("Proxy Authentication Required"):
		return v(ads.ClassUnreachable, codeProxyAuth, "the proxy asks for authentication",
			"put the proxy's own user and password into HTTPS_PROXY; the platform's are never sent to it")
	case errors.Is(err, errPlain):
		return v(ads.ClassUnreachable, codeProxyPlain, "credentials are not sent through a proxy over plain http", "use an https:// url, or name the host in NO_PROXY")
	case untrusted(err, handshake):
		return v(ads.ClassUnreachable, codeTLS, "the secure connection to "+c.host+" cannot be trusted: "+ads.Printable(tlsReason(err), 200),
			"check the url and the server's certificate; adsync never goes on without a valid one")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return v(ads.ClassTransient, codeSockets, "this machine has no socket left (too many open files)", "raise the limit on open files (ulimit -n), or sync fewer connections at once")
	case isOp && op.Op == "proxyconnect", has("proxyconnect"):
		return v(ads.ClassUnreachable, "proxy", "the proxy cannot be reached", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
	case isDNS && dns.IsNotFound:
		return v(ads.ClassUnreachable, "dns", "the host "+c.host+" is not known (DNS)", "check the connection's url and the network's name service")
	case isDNS:
		return v(ads.ClassUnreachable, "dns", "the name of "+c.host+" could not be looked up (DNS)", "check the network's name service")
	case errors.Is(err, syscall.ECONNREFUSED):
		return v(ads.ClassUnreachable, "refused", c.host+" refuses connections", "is the platform running, and is the url's port right?")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), isOp && op.Op == "dial" && !errors.Is(err, context.Canceled):
		return v(ads.ClassUnreachable, "unreachable", c.host+" cannot be reached", "check the network")
	case errors.Is(context.Cause(ctx), errTimeout), errors.Is(err, errTimeout), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return v(ads.ClassTransient, "timeout", fmt.Sprintf("no answer within %s", c.c.Timeout), "")
	case has("server response headers exceeded"), has("header list"):
		return v(ads.ClassTransient, "header_size", "the answer's headers are over 1 MiB", "")
	case has("invalid header field"), has("invalid method"):
		return v(ads.ClassPermanent, "bad_request", "the request has a header that HTTP does not allow", "check the settings of this connection for control characters")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), has("stream error"), has("GOAWAY"):
		return v(ads.ClassTransient, "reset", "the connection was reset", "")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return v(ads.ClassTransient, "cut_short", "the answer was cut short", "")
	case errors.Is(err, io.EOF), has("server closed idle connection"), has("transport connection broken"), has("http2: client conn"):
		return v(ads.ClassTransient, "closed", "the connection was closed before an answer", "")
	case errors.Is(err, context.Canceled):
		return v(ads.ClassTransient, "cancelled", "the request was cut off", "")
	case has("malformed HTTP"), has("invalid"), has("gzip: "):
		return v(ads.ClassTransient, "malformed", "the answer is not HTTP that can be read", "")
	}
	return v(ads.ClassTransient, "connection", "the connection failed", "")
}

// untrusted says whether TLS refused the host, rather than the network cutting the handshake off.
func untrusted(err error, handshake bool) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "server gave HTTP response to HTTPS client") ||
		(handshake && strings.Contains(text, "tls: ") && !isTimeout(err) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET))
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

func tlsReason(err error) string {
	s := err.Error()
	for _, from := range []string{"x509: ", "tls: "} {
		if i := strings.Index(s, from); i >= 0 {
			return s[i:]
		}
	}
	return s
}
