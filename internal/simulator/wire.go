package simulator

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// hijack takes the connection out of the server's hands; where that cannot be (HTTP/2, a recorder) the request is cut off instead.
func (c *call) hijack() (net.Conn, *bufio.ReadWriter) {
	conn, rw, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.SetDeadline(time.Time{})
	if !c.s.hold(conn) {
		_ = conn.Close()
		panic(http.ErrAbortHandler)
	}
	return conn, rw
}

// cut closes a connection so that the other side reads a reset and not an end.
func (s *Server) cut(conn net.Conn) {
	inner := conn
	if t, ok := conn.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	if t, ok := inner.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = inner.Close()
	s.drop(conn)
}

// head is the answer's first part as HTTP/1.1 text, with the length that it is to claim; below 0 none.
func (r *reply) head(c *call, length int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status))
	h := http.Header{}
	h.Set("Date", c.wall().Format(http.TimeFormat))
	r.headers(c, h)
	if length >= 0 {
		h.Set("Content-Length", strconv.Itoa(length))
	}
	_ = h.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// sendReset cuts the connection before a byte of the answer is sent.
func sendReset(c *call, _ *reply) {
	conn, _ := c.hijack()
	c.s.cut(conn)
}

// sendResetMid cuts it in the middle of the body. The pause lets the first half arrive; without it a reset would overtake it.
func sendResetMid(c *call, r *reply) {
	conn, rw := c.hijack()
	_, _ = rw.Write(r.head(c, len(r.body)))
	_, _ = rw.Write(r.body[:len(r.body)/2])
	_ = rw.Flush()
	c.pause(20 * time.Millisecond)
	c.s.cut(conn)
}

// sendHangMid sends half of the body and then nothing more.
func sendHangMid(c *call, r *reply) {
	r.headers(c, c.w.Header())
	c.w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
	c.w.WriteHeader(r.status)
	_, _ = c.w.Write(r.body[:len(r.body)/2])
	_ = http.NewResponseController(c.w).Flush()
	c.hang()
	panic(http.ErrAbortHandler)
}

// sendDrip sends one byte at a time.
func sendDrip(every time.Duration) func(*call, *reply) {
	return func(c *call, r *reply) {
		r.headers(c, c.w.Header())
		c.w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
		c.w.WriteHeader(r.status)
		rc := http.NewResponseController(c.w)
		for i := range r.body {
			if _, err := c.w.Write(r.body[i : i+1]); err != nil {
				panic(http.ErrAbortHandler)
			}
			if rc.Flush() != nil || !c.wait(every) || c.over() {
				panic(http.ErrAbortHandler)
			}
		}
	}
}

// sendChunkedNoEnd sends the whole body in chunks, without the chunk that says it is whole.
func sendChunkedNoEnd(c *call, r *reply) {
	r.headers(c, c.w.Header())
	c.w.WriteHeader(r.status)
	_, _ = c.w.Write(r.body)
	_ = http.NewResponseController(c.w).Flush()
	c.pause(20 * time.Millisecond)
	panic(http.ErrAbortHandler)
}

// sendLength claims a length that is off by so much. One that is too short leaves bytes behind that look like the next answer.
func sendLength(by int) func(*call, *reply) {
	return func(c *call, r *reply) {
		conn, rw := c.hijack()
		_, _ = rw.Write(r.head(c, max(len(r.body)+by, 0)))
		_, _ = rw.Write(r.body)
		_ = rw.Flush()
		c.closeSoon(conn)
	}
}

// closeSoon gives the other side time to read, then closes.
func (c *call) closeSoon(conn net.Conn) {
	c.pause(20 * time.Millisecond)
	_ = conn.Close()
	c.s.drop(conn)
}

// sendCloseSilently answers as if the connection lived on, and closes it.
func sendCloseSilently(c *call, r *reply) {
	conn, rw := c.hijack()
	_, _ = rw.Write(r.head(c, len(r.body)))
	_, _ = rw.Write(r.body)
	_ = rw.Flush()
	_ = conn.Close()
	c.s.drop(conn)
}

// staleFor is how long a stale connection waits to be used again.
const staleFor = 5 * time.Minute

// sendStale answers as if the connection lived on, and resets it when the next request comes on it.
func sendStale(c *call, r *reply) {
	conn, rw := c.hijack()
	_, _ = rw.Write(r.head(c, len(r.body)))
	_, _ = rw.Write(r.body)
	_ = rw.Flush()
	c.end() // the request is over; only its connection is not
	_ = conn.SetReadDeadline(time.Now().Add(staleFor))
	_, _ = rw.ReadByte()
	c.s.cut(conn)
}

// bombBlock is a gzip member of blank space; members in a row unpack to the sum of them.
var bombBlock = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	blank := bytes.Repeat([]byte{' '}, 64<<10)
	for range bombMember / len(blank) {
		_, _ = z.Write(blank)
	}
	_ = z.Close()
	return b.Bytes()
})

const bombMember = 1 << 20

// sendBomb sends a little that unpacks to size bytes before the body proper begins.
func sendBomb(size int64) func(*call, *reply) {
	return func(c *call, r *reply) {
		r.headers(c, c.w.Header())
		c.w.Header().Set("Content-Encoding", "gzip")
		c.w.WriteHeader(r.status)
		for sent := int64(0); sent < size; sent += bombMember {
			if _, err := c.w.Write(bombBlock()); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		z := gzip.NewWriter(c.w)
		_, _ = z.Write(r.body)
		_ = z.Close()
	}
}

// sendEndless sends blank space in front of the body until size bytes are out, the client leaves or the server stops.
func sendEndless(size int64) func(*call, *reply) {
	return func(c *call, r *reply) {
		r.headers(c, c.w.Header())
		c.w.WriteHeader(r.status)
		blank := bytes.Repeat([]byte{' '}, 64<<10)
		for sent := int64(0); sent < size; sent += int64(len(blank)) {
			if _, err := c.w.Write(blank); err != nil || c.over() {
				panic(http.ErrAbortHandler)
			}
		}
		_, _ = c.w.Write(r.body)
	}
}

// sendHeaderFlood sends so many bytes of headers before the body.
func sendHeaderFlood(size int) func(*call, *reply) {
	return func(c *call, r *reply) {
		const each = 1 << 10
		value := strings.Repeat("x", each)
		for i := range size / each {
			r.with(fmt.Sprintf("X-Flood-%d", i), value)
		}
		r.send = nil
		r.write(c)
	}
}

// sendClose says that the connection ends with this answer; over HTTP/2 that is a GOAWAY.
func sendClose(c *call, r *reply) {
	r.send = nil
	c.w.Header().Set("Connection", "close")
	r.write(c)
}
