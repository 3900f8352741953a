package apiclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/retry"
)

// attempt is what came of sending a request once.
type attempt struct {
	reply   platform.Reply
	verdict platform.Verdict
	status  int           // 0: no answer
	told    time.Duration // how long the answer asks to wait; 0: it does not say
	sent    bool          // headers were written: the server may have counted it
	stale   bool          // a kept connection proved dead before the first byte of an answer
}

func newTransport(c SharedConfig, idle time.Duration) *http.Transport {
	t := &http.Transport{
		Proxy:                  c.Proxy,
		DialContext:            c.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        idle,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64,
		MaxResponseHeaderBytes: MaxHeader,
		ForceAttemptHTTP2:      true,
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         32 << 10,
	}
	if t.Proxy == nil {
		t.Proxy = http.ProxyFromEnvironment
	}
	if t.DialContext == nil {
		t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	return t
}

// once is an empty body that cannot be sent again. net/http repeats a request silently when a kept connection turns out to be dead, and the
// platform may have counted it both times; a body that has begun and cannot be had anew keeps it from doing so.
type once struct{ io.Reader }

func (once) Close() error { return nil }

// attempt sends the request once and reads the answer whole.
func (c *Client) attempt(ctx context.Context, l *logical, tok *token, slot *quota.Slot) (a attempt) {
	l.try++
	begin := time.Now()
	defer func() {
		l.spent += time.Since(begin)
		v := a.verdict
		if !l.r.Uncounted && (a.sent || a.status > 0) {
			c.requests.Add(1)
			c.mu.Lock()
			c.budget.Request()
			c.mu.Unlock()
			if l.try > 1 && v.Class != ads.ClassThrottled && !a.stale {
				c.retries.Add(1)
			}
		}
		c.emit(observe.Attempt{
			Endpoint: l.r.Endpoint, Try: l.try, Status: a.status, Class: v.Class, Code: v.Code, Message: v.Message,
			Duration: time.Since(begin), RequestID: v.RequestID, Token: l.r.Uncounted, Refused: v.Class == ads.ClassThrottled, Sent: a.sent,
		})
		if a.stale || v.Class == ads.ClassThrottled || v.Class == ads.ClassTokenDead {
			l.try-- // not the request's failure
		}
	}()

	// The caller's end ends waits at once, but what has been sent gets a while to be answered.
	att, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), c.c.Timeout, errTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(c.c.Grace, cancel)
		context.AfterFunc(att, func() { t.Stop() })
	})
	defer stop()

	var wrote, firstByte, reused atomic.Bool
	trace := &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { reused.Store(i.Reused) },
		WroteHeaders: func() {
			wrote.Store(true)
			if slot != nil {
				slot.Sent()
			}
		},
		GotFirstResponseByte: func() { firstByte.Store(true) },
	}
	req, err := c.request(httptrace.WithClientTrace(att, trace), l.r, tok)
	if err != nil {
		a.verdict = platform.Verdict{Class: ads.ClassPermanent, Code: "bad_request", Message: "the request cannot be built"}
		return a
	}
	resp, err := c.http.RoundTrip(req)
	if err == nil {
		a.status = resp.StatusCode
		a.reply = platform.Reply{Endpoint: l.r.Endpoint, Status: resp.StatusCode, Header: resp.Header}
		a.reply.Body, err = c.read(att, cancel, resp)
	}
	a.sent = wrote.Load()
	if err != nil {
		a.verdict = c.transportError(att, err)
		a.stale = reused.Load() && !firstByte.Load() && a.verdict.Code != "timeout" && a.status == 0
		if a.status > 0 {
			a.verdict.Message = fmt.Sprintf("the answer (status %d) broke off: %s", a.status, a.verdict.Message)
			if a.status/100 != 2 {
				// A refusal stays what it is, even when its words were lost.
				v := c.c.Platform.Classify(platform.Reply{Endpoint: l.r.Endpoint, Status: a.status, Header: resp.Header})
				if v.Class == ads.ClassThrottled || v.Class == ads.ClassTokenDead || v.Class == ads.ClassAuth {
					a.verdict = v
				}
			}
			a.told = retry.After(resp.Header, -1, time.Now()).Wait
		}
		return a
	}
	if a.status/100 == 3 {
		a.verdict = redirect(c.base, resp)
		return a
	}
	a.verdict = c.c.Platform.Classify(a.reply)
	a.verdict.Message = ads.Printable(a.verdict.Message, 400)
	if a.verdict.Class == ads.ClassOK {
		if l.r.Parse != nil {
			a.verdict = parse(l.r.Parse, a.reply, a.verdict)
		}
		return a
	}
	body := time.Duration(-1)
	if a.verdict.Wait.Set {
		body = a.verdict.Wait.Value
	}
	if a.verdict.Class == ads.ClassThrottled || a.verdict.Class == ads.ClassTransient {
		a.told = retry.After(a.reply.Header, body, time.Now()).Wait
	}
	return a
}

var errTimeout = errors.New("time-out")

// parse lets the connector read a good answer. Its error becomes the verdict.
func parse(fn func(platform.Reply) error, r platform.Reply, v platform.Verdict) platform.Verdict {
	err := fn(r)
	if err == nil {
		return v
	}
	out := platform.Verdict{Class: ads.ClassBadReply, Code: "bad_reply", Message: ads.Printable(err.Error(), 400), RequestID: v.RequestID}
	if e, ok := errors.AsType[*ads.Error](err); ok {
		out.Class, out.Code, out.Message, out.Hint = e.Class, e.Code, ads.Printable(e.Message, 400), e.Hint
	}
	return out
}

func (c *Client) request(ctx context.Context, r platform.Request, tok *token) (*http.Request, error) {
	u := *c.base
	u.RawPath = u.EscapedPath() + r.Path
	path, err := url.PathUnescape(u.RawPath)
	if err != nil {
		return nil, err
	}
	u.Path, u.RawQuery = path, r.Query
	req, err := http.NewRequestWithContext(ctx, r.Method, "", nil)
	if err != nil {
		return nil, err
	}
	req.URL, req.Host = &u, u.Host
	if len(r.Body) > 0 || r.Method == http.MethodGet {
		// An empty body of another method would go out chunked; net/http repeats those only where nothing was written.
		req.Body, req.ContentLength = once{bytes.NewReader(r.Body)}, int64(len(r.Body))
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "adsync")
	switch {
	case r.Basic:
		req.SetBasicAuth(c.c.Email.Reveal(), c.c.Password.Reveal())
	case tok != nil:
		req.Header.Set("Authorization", "Bearer "+tok.value)
	}
	return req, nil
}

// read takes the body in whole. It fails when it is over MaxBody, cut short, or when nothing comes for half of the time-out.
func (c *Client) read(ctx context.Context, cancel func(), resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	var stalled atomic.Bool
	patience := max(time.Second, c.c.Timeout/2)
	dog := time.AfterFunc(patience, func() { stalled.Store(true); cancel() })
	defer dog.Stop()
	size := resp.ContentLength
	if size < 0 || size > MaxBody {
		size = 16 << 10
	}
	buf := make([]byte, 0, size+512)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := resp.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > MaxBody {
			return nil, errBodySize
		}
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil && stalled.Load():
			return nil, errStalled
		case err != nil:
			return nil, err
		}
		if n > 0 {
			dog.Reset(patience)
		}
	}
}

var (
	errBodySize = errors.New("body over 32 MiB")
	errStalled  = errors.New("the answer stalled")
)

// redirect refuses: credentials go to the origin they belong to and nowhere else.
func redirect(base *url.URL, resp *http.Response) platform.Verdict {
	v := platform.Verdict{Class: ads.ClassPermanent, Code: "redirect", Message: fmt.Sprintf("unexpected status %d", resp.StatusCode)}
	loc := resp.Header.Get("Location")
	if loc == "" {
		return v
	}
	to, err := base.Parse(loc)
	where := "an address that cannot be read"
	if err == nil {
		where = "origin " + ads.Printable(to.Scheme+"://"+to.Host, 120)
	}
	v.Message = "refused redirect to " + where
	v.Hint = "check the connection's url: the platform points elsewhere. Credentials are sent to no other address"
	return v
}

// transportError names what went wrong on the way, without any address but the host's, and never a secret.
func (c *Client) transportError(ctx context.Context, err error) platform.Verdict {
	v := func(class ads.Class, code, message, hint string) platform.Verdict {
		return platform.Verdict{Class: class, Code: code, Message: message, Hint: hint}
	}
	var certInvalid x509.CertificateInvalidError
	var unknownCA x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	var op *net.OpError
	text := err.Error()
	switch {
	case errors.Is(err, errBodySize):
		return v(ads.ClassTransient, "body_size", "body over 32 MiB", "")
	case errors.Is(err, errStalled):
		return v(ads.ClassTransient, "stalled", fmt.Sprintf("the answer stalled: nothing came for %s", max(time.Second, c.c.Timeout/2)), "")
	case errors.As(err, &verify), errors.As(err, &certInvalid), errors.As(err, &unknownCA), errors.As(err, &wrongName), errors.As(err, &alert), errors.As(err, &record),
		strings.Contains(text, "tls: "), strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return v(ads.ClassUnreachable, "tls", "the secure connection to "+c.host+" cannot be trusted: "+ads.Printable(tlsReason(err), 200),
			"check the url and the server's certificate; adsync never goes on without a valid one")
	case errors.Is(context.Cause(ctx), errTimeout) || errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return v(ads.ClassTransient, "timeout", fmt.Sprintf("no answer within %s", c.c.Timeout), "")
	case strings.Contains(text, "Proxy Authentication Required"):
		return v(ads.ClassUnreachable, "proxy_auth", "the proxy asks for authentication", "put the proxy's own user and password into HTTPS_PROXY; the platform's are never sent to it")
	case errors.As(err, &op) && op.Op == "proxyconnect", strings.Contains(text, "proxyconnect"):
		return v(ads.ClassUnreachable, "proxy", "the proxy cannot be reached", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
	case errors.As(err, &dns):
		return v(ads.ClassUnreachable, "dns", "the host "+c.host+" is not known (DNS)", "check the connection's url and the network's name service")
	case errors.Is(err, syscall.ECONNREFUSED):
		return v(ads.ClassUnreachable, "refused", c.host+" refuses connections", "is the platform running, and is the url's port right?")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.As(err, &op) && op.Op == "dial":
		return v(ads.ClassUnreachable, "unreachable", c.host+" cannot be reached", "check the network")
	case strings.Contains(text, "server response headers exceeded"), strings.Contains(text, "header list"):
		return v(ads.ClassTransient, "header_size", "the answer's headers are over 1 MiB", "")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return v(ads.ClassTransient, "reset", "the connection was reset", "")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return v(ads.ClassTransient, "cut_short", "the answer was cut short", "")
	case errors.Is(err, io.EOF), strings.Contains(text, "server closed idle connection"), strings.Contains(text, "transport connection broken"):
		return v(ads.ClassTransient, "closed", "the connection was closed before an answer", "")
	case errors.Is(err, context.Canceled):
		return v(ads.ClassTransient, "cancelled", "the request was cut off", "")
	case strings.Contains(text, "malformed HTTP"), strings.Contains(text, "invalid"):
		return v(ads.ClassTransient, "malformed", "the answer is not HTTP that can be read", "")
	}
	return v(ads.ClassTransient, "connection", "the connection failed", "")
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func tlsReason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	s := err.Error()
	if i := strings.Index(s, "x509: "); i >= 0 {
		return s[i:]
	}
	if i := strings.Index(s, "tls: "); i >= 0 {
		return s[i:]
	}
	return s
}
