package stage

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Outcome is what an answer counts as.
type Outcome uint8

// The outcomes. Unsaid goes by the status.
const (
	Unsaid Outcome = iota
	Good
	Throttled
	Unauthorized
	Forbidden
	Bad
	Failed
)

// Reply is an answer before it is sent, so that faults can change it or the way it goes out.
type Reply struct {
	Status  int
	Type    string // of its content
	Header  [][2]string
	Body    []byte
	Stream  func(io.Writer) error // instead of Body: what writes it, piece by piece
	Outcome Outcome
	Rows    int64 // records in it
	buffer  *[]byte
	send    func(*Call, *Reply)
}

// Gone stands for no answer at all: the client left, or the server is stopping. The connection is cut.
var Gone = &Reply{}

// JSON is the type of most answers.
const JSON = "application/json; charset=UTF-8"

// With adds a header.
func (r *Reply) With(key, value string) *Reply {
	r.Header = append(r.Header, [2]string{key, value})
	return r
}

func (r *Reply) outcome() Outcome {
	switch {
	case r.Outcome != Unsaid:
		return r.Outcome
	case r.Status == http.StatusTooManyRequests:
		return Throttled
	case r.Status == http.StatusUnauthorized:
		return Unauthorized
	case r.Status == http.StatusForbidden:
		return Forbidden
	case r.Status >= 500:
		return Failed
	case r.Status >= 400:
		return Bad
	}
	return Good
}

// whole makes a body of a stream. What is too long is left out: whoever asks for it is about to cut the answer anyway.
func (r *Reply) whole() {
	if r.Stream == nil {
		return
	}
	b := &capped{}
	_ = r.Stream(b) // errCapped, or nothing
	r.Body, r.Stream = b.b, nil
}

type capped struct{ b []byte }

const maxWhole = 8 << 20

func (c *capped) Write(p []byte) (int, error) {
	if len(c.b)+len(p) > maxWhole {
		return 0, io.ErrShortWrite
	}
	c.b = append(c.b, p...)
	return len(p), nil
}

// headers sets everything but the length.
func (r *Reply) headers(h http.Header) {
	if r.Type != "" {
		h.Set("Content-Type", r.Type)
	}
	for _, kv := range r.Header {
		h.Add(kv[0], kv[1])
	}
}

func (r *Reply) write(c *Call) {
	if r.send != nil {
		r.send(c, r)
		return
	}
	h := c.W.Header()
	r.headers(h)
	if r.Stream != nil {
		c.W.WriteHeader(r.Status)
		if r.Stream(c.W) != nil {
			panic(http.ErrAbortHandler) // a stream that breaks must not look whole
		}
		return
	}
	if r.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(r.Body)))
	}
	c.W.WriteHeader(r.Status)
	if len(r.Body) > 0 && c.R.Method != http.MethodHead {
		_, _ = c.W.Write(r.Body) // a client that is gone is no concern of the platform
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

// maxPooled keeps an unusually large page from staying in memory.
const maxPooled = 8 << 20

// Buffer is an empty slice that Keep and the end of the request give back.
func Buffer() *[]byte { return buffers.Get().(*[]byte) }

// Keep makes b, which began as the buffer, the body.
func (r *Reply) Keep(buffer *[]byte, b []byte) *Reply {
	r.Body, r.buffer = b, buffer
	return r
}

// Release gives a buffer back that no reply keeps.
func Release(buffer *[]byte, b []byte) {
	if cap(b) <= maxPooled {
		*buffer = b[:0]
		buffers.Put(buffer)
	}
}

func (r *Reply) release() {
	if r.buffer != nil {
		Release(r.buffer, r.Body)
		r.buffer, r.Body = nil, nil
	}
}

// Quote appends a JSON string. HTML characters stay as they are: names must reach the client as given.
func Quote(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	s = strings.ToValidUTF8(s, "\ufffd")
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		start = i + 1
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
