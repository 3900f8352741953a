package simulator

import (
	"net/http"
	"strconv"
	"sync"
)

// reply is an answer before it is sent, so that faults can change it or the way it goes out.
type reply struct {
	status int
	ctype  string
	header [][2]string
	body   []byte
	buffer *[]byte                 // where body lies, when it goes back to the pool after sending
	send   func(c *call, r *reply) // nil: as HTTP has it
}

// gone stands for no answer at all: the client left, or the server is stopping. The connection is cut.
var gone = &reply{}

const jsonType = "application/json; charset=utf-8"

func jsonReply(status int, body []byte) *reply {
	return &reply{status: status, ctype: jsonType, body: body}
}

// failure is the platform's error body, with whatever members follow.
func failure(status int, err, message string, more ...field) *reply {
	r := &record{fields: append([]field{{"error", quote(err)}, {"message", quote(message)}}, more...)}
	return jsonReply(status, r.bytes())
}

func (r *reply) with(key, value string) *reply {
	r.header = append(r.header, [2]string{key, value})
	return r
}

// headers sets everything but the length.
func (r *reply) headers(c *call, h http.Header) {
	if r.ctype != "" {
		h.Set("Content-Type", r.ctype)
	}
	if c.skew != 0 {
		h.Set("Date", c.wall().Format(http.TimeFormat))
	}
	for _, kv := range r.header {
		if kv[0] == "Date" {
			h.Set(kv[0], kv[1])
			continue
		}
		h[kv[0]] = append(h[kv[0]], kv[1]) // not canonicalised: a fault may want another spelling
	}
}

func (r *reply) write(c *call) {
	if r.send != nil {
		r.send(c, r)
		return
	}
	h := c.w.Header()
	r.headers(c, h)
	if r.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(r.body)))
	}
	c.w.WriteHeader(r.status)
	if len(r.body) > 0 {
		_, _ = c.w.Write(r.body) // a client that is gone is no concern of the platform
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// maxPooled keeps an unusually large page from staying in memory.
const maxPooled = 4 << 20

func (r *reply) release() {
	if r.buffer != nil && cap(r.body) <= maxPooled {
		*r.buffer = r.body[:0]
		buffers.Put(r.buffer)
	}
}
