package apiclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/retry"
	"adsync/internal/secret"
)

// attempt is what came of sending a request once.
type attempt struct {
	reply   platform.Reply
	verdict platform.Verdict
	status  int           // 0: no answer
	told    time.Duration // how long the answer asks to wait; 0: it does not say
	sent    bool          // something was written: the server may have counted it
	stale   bool          // a kept connection proved dead before the first byte of an answer
	cut     bool          // the caller's end cut it off
	broke   bool          // no answer came, or not all of it
	barred  error         // of the quota ledger: nothing was sent because it could not be written down
}

// wire is what the transport tells about an attempt.
type wire struct {
	headers   atomic.Int32 // times they were written
	firstByte atomic.Bool
	reused    atomic.Bool
	handshake atomic.Bool // failed
	conn      atomic.Pointer[counted]
	before    atomic.Int64 // bytes written to conn before
	barred    atomic.Pointer[error]
}

// sent says whether any of the request may have left.
func (w *wire) sent() bool {
	if w.headers.Load() == 0 {
		return false
	}
	conn := w.conn.Load()
	return conn == nil || conn.written.Load() > w.before.Load()
}

// attempt sends the request once and reads the answer whole.
func (c *Client) attempt(ctx context.Context, l *logical, tok *token, slot *quota.Slot) (a attempt) {
	l.try++
	l.attempts++
	begin := time.Now()
	defer func() { c.account(l, a, time.Since(begin)) }()

	// The caller's end ends waits at once, but what has been sent gets a while to be answered.
	att, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), c.c.Timeout, errTimeout)
	defer cancel()
	var w wire
	stop := context.AfterFunc(ctx, func() {
		if !w.sent() {
			cancel()
			return
		}
		t := time.AfterFunc(c.c.Grace, cancel)
		context.AfterFunc(att, func() { t.Stop() })
	})
	defer stop()

	resp, err := c.send(att, l.r, tok, slot, &w)
	if err == nil {
		a.status = resp.StatusCode
		a.reply = platform.Reply{Endpoint: l.r.Endpoint, Status: resp.StatusCode, Header: resp.Header}
		a.reply.Body, err = c.read(cancel, resp)
	}
	a.sent = (w.sent() && !untouched(err)) || a.status > 0
	if barred := w.barred.Load(); barred != nil && !a.sent {
		a.barred = *barred
		a.verdict = platform.Verdict{Class: ads.ClassTransient, Code: "ledger", Message: "not sent: the quota ledger could not be written"}
		return a
	}
	if err != nil {
		c.brokeOff(ctx, att, &a, &w, l, tok, err)
		return a
	}
	switch {
	case a.status/100 == 3 && a.reply.Header.Get("Location") != "":
		a.verdict = redirect(c.base, resp)
		a.verdict.Message = c.scrub(a.verdict.Message, tok)
		return a
	case a.status == http.StatusProxyAuthRequired:
		a.verdict = c.transportError(att, errProxyAuth, false)
		return a
	}
	a.verdict = c.classify(&a.reply, tok)
	if a.verdict.Class == ads.ClassOK {
		if l.r.Parse != nil {
			a.verdict = parse(l.r.Parse, a.reply, a.verdict)
			a.verdict.Message, a.verdict.Hint = c.scrub(a.verdict.Message, tok), c.scrub(a.verdict.Hint, tok)
		}
		return a
	}
	body := time.Duration(-1)
	if a.verdict.Wait.Set {
		body = max(a.verdict.Wait.Value, 0)
	}
	if a.verdict.Class == ads.ClassThrottled || a.verdict.Class == ads.ClassTransient {
		a.told = retry.After(a.reply.Header, body, time.Now()).Wait
	}
	return a
}

// brokeOff says what an exchange that broke off means.
func (c *Client) brokeOff(ctx, att context.Context, a *attempt, w *wire, l *logical, tok *token, err error) {
	a.cut = ctx.Err() != nil && errors.Is(context.Cause(att), context.Canceled) && !errors.Is(err, errStalled) && !errors.Is(err, errBodySize)
	a.broke = true
	a.verdict = c.transportError(att, err, w.handshake.Load())
	a.stale = a.status == 0 && !a.cut && (untouched(err) || (w.reused.Load() && !w.firstByte.Load() && a.verdict.Code != "timeout"))
	if a.status == 0 {
		return
	}
	a.verdict.Message = fmt.Sprintf("the answer (status %d) broke off: %s", a.status, a.verdict.Message)
	if a.status/100 != 2 {
		// A refusal stays what it is, even when its words were lost.
		v := c.classify(&platform.Reply{Endpoint: l.r.Endpoint, Status: a.status, Header: a.reply.Header}, tok)
		if v.Class == ads.ClassThrottled || v.Class == ads.ClassTokenDead || v.Class == ads.ClassAuth {
			a.verdict = v
		}
	}
	a.told = retry.After(a.reply.Header, -1, time.Now()).Wait
}

// untouched says that an HTTP/2 server has told us that it has not looked at the request, as when it says goodbye.
func untouched(err error) bool {
	return err != nil && strings.Contains(err.Error(), "cannot retry err")
}

// account counts an attempt and tells of it.
func (c *Client) account(l *logical, a attempt, took time.Duration) {
	l.spent += took
	v := a.verdict
	if a.sent && !l.r.Uncounted {
		c.requests.Add(1)
		c.mu.Lock()
		c.budget.Request()
		c.mu.Unlock()
		if l.sends > 0 && !l.excused {
			c.retries.Add(1)
		}
	}
	if a.sent {
		l.sends++
		l.excused = v.Class == ads.ClassThrottled || a.stale
	}
	c.emit(observe.Attempt{
		Endpoint: l.r.Endpoint, Try: l.try, Status: a.status, Class: v.Class, Code: v.Code, Message: v.Message,
		Duration: took, RequestID: v.RequestID, Token: l.r.Uncounted, Refused: v.Class == ads.ClassThrottled, Sent: a.sent,
		Request: l.number,
	})
	if (a.stale && l.mayRepeat(a)) || v.Class == ads.ClassThrottled || v.Class == ads.ClassTokenDead {
		l.try-- // not the request's failure
	}
}

// send writes the request and waits for the headers of the answer.
func (c *Client) send(ctx context.Context, r platform.Request, tok *token, slot *quota.Slot, w *wire) (*http.Response, error) {
	if err := c.throughPlainProxy(ctx); err != nil {
		return nil, err
	}
	req, err := c.request(httptrace.WithClientTrace(ctx, c.tracing(w, slot)), r, tok)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.RoundTrip(req)
	if err == nil && resp.ProtoMajor == 2 {
		c.origin.http2.Store(true)
	}
	return resp, err
}

// tracing notes down in w what the transport does. The slot's time is that of the last byte handed to the network: the server cannot see the request
// whole before, and what is later is on the safe side.
func (c *Client) tracing(w *wire, slot *quota.Slot) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			w.reused.Store(i.Reused)
			conn := countedOf(i.Conn)
			if conn != nil {
				w.before.Store(conn.written.Load())
			}
			w.conn.Store(conn)
			if slot == nil {
				return
			}
			if err := slot.Ready(); err != nil {
				w.barred.Store(&err)
				if conn != nil {
					conn.shut.Store(true)
				}
			}
		},
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { w.handshake.Store(err != nil) },
		WroteHeaders:     func() { w.headers.Add(1) },
		WroteRequest: func(i httptrace.WroteRequestInfo) {
			if slot != nil && (i.Err == nil || w.sent()) {
				slot.Sent()
			}
		},
		GotFirstResponseByte: func() { w.firstByte.Store(true) },
	}
}

// maxSaid is what is read of the words of a refusal.
const maxSaid = 64 << 10

// classify asks the connector what an answer means. A platform may give our own credentials back, in an error's words for instance: nobody behind
// this line gets to see them. A good answer is data and stays what it is, though a campaign were named like the password.
func (c *Client) classify(r *platform.Reply, tok *token) platform.Verdict {
	v := platform.Verdict{}
	if r.Status/100 == 2 {
		v = c.c.Platform.Classify(*r)
	}
	if v.Class != ads.ClassOK || r.Status/100 != 2 {
		if r.Status/100 != 2 && len(r.Body) > maxSaid {
			r.Body = r.Body[:maxSaid]
		}
		r.Body = []byte(c.scrub(string(r.Body), tok))
		v = c.c.Platform.Classify(*r)
	}
	v.Message, v.Hint = ads.Printable(c.scrub(v.Message, tok), 400), c.scrub(v.Hint, tok)
	v.Code, v.RequestID = c.scrub(v.Code, tok), c.scrub(v.RequestID, tok)
	return v
}

// scrub takes the credentials and the token out of a text, in whatever form the platform gives them back.
func (c *Client) scrub(s string, tok *token) string {
	if s == "" {
		return s
	}
	if c.auth != nil {
		s = secret.Clean(s, c.auth.hiding()...)
	}
	return secret.Clean(secret.Clean(s, c.c.Credentials.All()...), c.c.Password, secret.New(c.c.Email.Reveal()+":"+c.c.Password.Reveal()), secret.New(tok.text()))
}

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

// once is a body that cannot be sent again. net/http repeats a request silently when a kept connection turns out to be dead, and the platform may
// have counted it both times; a body that cannot be had anew keeps it from doing so.
type once struct{ io.Reader }

func (once) Close() error { return nil }

func (c *Client) request(ctx context.Context, r platform.Request, tok *token) (*http.Request, error) {
	u := *c.base
	if r.Seal != nil {
		r = sealed(r, c.c.Credentials, tok)
	}
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
	for k, v := range r.Header {
		req.Header[k] = v
	}
	req.Header["User-Agent"] = []string{userAgent}
	if r.Seal == nil {
		req.Header.Del("Authorization")
	}
	switch usuallyHasBody := r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch; {
	case len(r.Body) > 0:
		req.Body, req.ContentLength = once{bytes.NewReader(r.Body)}, int64(len(r.Body))
	case usuallyHasBody:
		// An empty body of a type of our own would go out chunked. Without one these are repeated only where they have an idempotency
		// key, which net/http looks for under its canonical name; on the way names have no case.
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if v, ok := req.Header[name]; ok {
				delete(req.Header, name)
				req.Header[strings.ToLower(name)] = v
			}
		}
	case !c.origin.http2.Load():
		// HTTP/2 repeats only what the server says it has not looked at (untouched), and there the empty body would be a frame of its own.
		req.Body = once{bytes.NewReader(nil)}
	}
	switch {
	case r.Basic:
		req.SetBasicAuth(c.c.Email.Reveal(), c.c.Password.Reveal())
	case tok != nil && r.Origin == "" && r.Seal == nil:
		req.Header.Set("Authorization", "Bearer "+tok.value)
	}
	return req, nil
}

// patience is how long nothing may come in the middle of an answer.
func (c *Client) patience() time.Duration { return max(time.Second, c.c.Timeout/2) }

// firstRead bounds what is set aside for a body on the word of its Content-Length alone.
const firstRead = 1 << 20

// read takes the body in whole. It fails when it is over MaxBody, cut short, or when nothing comes for too long.
func (c *Client) read(cancel func(), resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	var stalled atomic.Bool
	dog := time.AfterFunc(c.patience(), func() { stalled.Store(true); cancel() })
	defer dog.Stop()
	size := resp.ContentLength
	if size < 0 {
		size = max(c.lastBody.Load(), 16<<10) // pages are alike
	}
	buf := make([]byte, 0, min(size, firstRead)+512)
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
		case err == io.EOF: // wrapped it would be a failure
			c.lastBody.Store(int64(len(buf)))
			return buf, nil
		case err != nil && stalled.Load():
			return nil, errStalled
		case err != nil:
			return nil, err
		}
		if n > 0 {
			dog.Reset(c.patience())
		}
	}
}
