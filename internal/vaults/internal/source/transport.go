package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"adsync/internal/retry"
)

// maxBody is far above any secret: the stores allow 64 KiB to 1 MiB.
const maxBody = 4 << 20

// maxHeader bounds the headers of an answer.
const maxHeader = 64 << 10

// Limits of one connection.
const (
	DialWithin      = 5 * time.Second
	HandshakeWithin = 5 * time.Second
)

// Answer is what is known of the last answer to requests of one context.
type Answer struct {
	mu     sync.Mutex
	status int
	header http.Header
}

type answerKey struct{}

// Watch gives a context whose answers are noted.
func Watch(ctx context.Context) (context.Context, *Answer) {
	a := &Answer{}
	return context.WithValue(ctx, answerKey{}, a), a
}

// Note keeps what an answer says of itself, for the one who watches ctx, and makes its body end where no secret is that long.
func Note(ctx context.Context, resp *http.Response) {
	if a, ok := ctx.Value(answerKey{}).(*Answer); ok {
		a.mu.Lock()
		a.status, a.header = resp.StatusCode, resp.Header
		a.mu.Unlock()
	}
	resp.Body = &capped{body: resp.Body, left: maxBody}
}

// Status is that of the last answer; 0 where there was none.
func (a *Answer) Status() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// Header gives one field of the last answer.
func (a *Answer) Header(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.header.Get(name)
}

// Wait is what the last answer asked for before the next try; 0 where it named no time.
func (a *Answer) Wait() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return retry.After(a.header, -1, time.Now()).Wait
}

// Transport notes answers and caps their bodies.
type Transport struct{ Base http.RoundTripper }

// RoundTrip is http.RoundTripper's.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Base.RoundTrip(r)
	if err == nil {
		Note(r.Context(), resp)
	}
	return resp, err
}

// CloseIdleConnections lets go of connections that nobody uses.
func (t Transport) CloseIdleConnections() {
	if c, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Bound sets the limits that the transport of a store has.
func Bound(t *http.Transport) {
	t.TLSHandshakeTimeout = HandshakeWithin
	t.MaxResponseHeaderBytes = maxHeader
	t.MaxIdleConnsPerHost = 4
	t.IdleConnTimeout = 30 * time.Second
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	t.TLSClientConfig.MinVersion = max(t.TLSClientConfig.MinVersion, tls.VersionTLS12)
}

// Stay refuses to follow a redirect: credentials go to the host that was named, and to no other.
func Stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

type capped struct {
	body io.ReadCloser
	left int
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		// What is exactly as long as allowed ends here; one byte more is too many.
		var one [1]byte
		if n, err := c.body.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, ErrTooBig
	}
	if len(p) > c.left {
		p = p[:c.left]
	}
	n, err := c.body.Read(p)
	c.left -= n
	return n, err
}

func (c *capped) Close() error { return c.body.Close() }

// IsTLS reports whether a connection failed for what the other side's certificate is.
func IsTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &verify) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch)
}

func tlsReason(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return "an authority that is not known issued it"
	case errors.As(err, &host):
		return "it is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired, or is not valid yet"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the other side does not speak TLS"
	}
	return "it is not valid"
}
