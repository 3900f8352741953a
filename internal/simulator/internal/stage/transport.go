package stage

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Transport is the section of a catalogue about what lies beneath every platform. first is where they play by default, broken is the
// platform's own answer when it is down.
func Transport(first string, broken func(c *Call, code int) *Reply) []Fault {
	const section = "transport"
	sends := func(name string, numbers []int, help string, send func(*Call, *Reply), params ...Param) Fault {
		return Fault{
			Name: name, Numbers: numbers, Section: section, Help: help, Default: first, Params: params,
			Finish: func(_ *Call, _ *Active, r *Reply) { r.send = send },
		}
	}
	return []Fault{
		{
			Name: "status", Section: section, Help: "an error status in the platform's own form", Default: first,
			Params: []Param{{Name: "code", Default: "503", Help: "from 400 to 599", Kind: Number}},
			Instead: func(c *Call, f *Active) *Reply {
				return broken(c, int(min(max(f.Num("code"), 400), 599)))
			},
		},
		{
			Name: "slow", Section: section, Help: "the answer comes so much later", Default: "endpoint=any",
			Params: []Param{{Name: "by", Default: "1s", Help: "how much", Kind: Duration}},
			Instead: func(c *Call, f *Active) *Reply {
				if !c.Wait(f.Dur("by")) {
					return Gone
				}
				return nil
			},
		},
		{
			Name: "silent", Numbers: []int{43, 115}, Section: section, Help: "no answer at all", Default: first,
			Instead: func(c *Call, _ *Active) *Reply { return c.Silence() },
		},
		{
			Name: "outage", Numbers: []int{57}, Section: section, Help: "the whole host is down for a while; for=0 is for good", Default: "endpoint=any,after=20,for=8s", Host: true,
			Params: []Param{{Name: "how", Default: "503", Help: "what a request meets", Values: []string{"503", "reset", "silent"}}},
			Arrive: func(c *Call, f *Active) *Reply {
				c.outage()
				switch f.Str("how") {
				case "reset":
					return &Reply{send: sendReset}
				case "silent":
					return c.Silence()
				}
				return broken(c, http.StatusServiceUnavailable)
			},
		},
		{
			Name: "reset-before-headers", Numbers: []int{41}, Section: section, Help: "the connection is reset before an answer; nothing was done", Default: first,
			Instead: func(*Call, *Active) *Reply { return &Reply{send: sendReset} },
		},
		sends("reset-mid-body", []int{42}, "the connection is reset in the middle of the body", sendResetMid),
		sends("hang-mid-body", []int{44}, "half of the body, then nothing", sendHangMid),
		{
			Name: "drip", Numbers: []int{45}, Section: section, Help: "the body comes a byte at a time", Default: first,
			Params: []Param{{Name: "every", Default: "1s", Help: "pause between two bytes", Kind: Duration}},
			Finish: func(_ *Call, f *Active, r *Reply) { r.send = sendDrip(f.Dur("every")) },
		},
		sends("chunked-no-end", []int{46}, "a chunked body without its last chunk, though the JSON is whole", sendChunkedNoEnd),
		{
			Name: "bad-gateway-html", Numbers: []int{56}, Section: section, Help: "502, 503 or 504 with an HTML page", Default: first,
			Params:  []Param{{Name: "code", Default: "502", Help: "status", Values: []string{"502", "503", "504"}, Kind: Number}},
			Instead: func(_ *Call, f *Active) *Reply { return HTML(int(f.Num("code"))) },
		},
		{
			Name: "html-200", Numbers: []int{59}, Section: section, Help: "an HTML page with status 200", Default: first,
			Instead: func(*Call, *Active) *Reply { return HTML(http.StatusOK) },
		},
		{
			Name: "empty-200", Numbers: []int{59}, Section: section, Help: "status 200 and nothing in it", Default: first,
			Instead: func(*Call, *Active) *Reply { return &Reply{Status: http.StatusOK, Type: JSON} },
		},
		{
			Name: "cut-json", Numbers: []int{61}, Section: section, Help: "the JSON ends in the middle, the HTTP does not", Default: first,
			Finish: func(_ *Call, _ *Active, r *Reply) {
				r.whole()
				r.Body = r.Body[:len(r.Body)/2]
			},
		},
		{
			Name: "redirect-other-port", Numbers: []int{51}, Section: section, Help: "a redirect to another port of the same host", Default: first,
			Params: []Param{
				{Name: "to", Default: "", Help: "where to; empty: an origin of the simulator's own, which counts who comes", Kind: Link},
				{Name: "code", Default: "307", Help: "status", Values: []string{"301", "302", "303", "307", "308"}, Kind: Number},
			},
			Instead: func(c *Call, f *Active) *Reply {
				to := f.Str("to")
				if to == "" {
					to = c.Host.Elsewhere() + c.R.URL.Path
				}
				return Redirect(int(f.Num("code")), to)
			},
		},
		{
			Name: "clock-off", Numbers: []int{15}, Section: section, Help: "the Date header of every answer is off", Default: "endpoint=any",
			Params: []Param{{Name: "by", Default: "6h", Help: "how much; below 0 it is slow", Kind: Duration}},
			Finish: func(c *Call, f *Active, r *Reply) {
				c.W.Header().Set("Date", time.Now().Add(f.Dur("by")).UTC().Format(http.TimeFormat))
			},
		},
	}
}

// HTML is a page of some machine on the way, not of the platform.
func HTML(status int) *Reply {
	return &Reply{
		Status: status, Type: "text/html; charset=utf-8", Outcome: Failed,
		Body: fmt.Appendf(nil, "<!DOCTYPE html>\n<html><head><title>%[1]d %[2]s</title></head><body><h1>%[1]d %[2]s</h1></body></html>\n", status, http.StatusText(status)),
	}
}

// Redirect leads elsewhere.
func Redirect(status int, to string) *Reply {
	return (&Reply{Status: status}).With("Location", to)
}

// hijack takes the connection out of the server's hands; where that cannot be (HTTP/2, a recorder) the request is cut off instead.
func (c *Call) hijack() (net.Conn, *bufio.ReadWriter) {
	conn, rw, err := http.NewResponseController(c.W).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.SetDeadline(time.Time{})
	if !c.Host.hold(conn) {
		_ = conn.Close()
		panic(http.ErrAbortHandler)
	}
	return conn, rw
}

// cut closes a connection so that the other side reads a reset and not an end.
func (h *Host) cut(conn net.Conn) {
	inner := conn
	if t, ok := conn.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	if t, ok := inner.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = inner.Close()
	h.drop(conn)
}

func (r *Reply) head(length int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", r.Status, http.StatusText(r.Status))
	h := http.Header{}
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	r.headers(h)
	h.Set("Content-Length", strconv.Itoa(length))
	_ = h.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// sendReset cuts the connection before a byte of the answer is sent.
func sendReset(c *Call, _ *Reply) {
	conn, _ := c.hijack()
	c.Host.cut(conn)
}

// sendResetMid cuts it in the middle of the body. The pause lets the first half arrive; without it a reset would overtake it.
func sendResetMid(c *Call, r *Reply) {
	r.whole()
	conn, rw := c.hijack()
	_, _ = rw.Write(r.head(len(r.Body)))
	_, _ = rw.Write(r.Body[:len(r.Body)/2])
	_ = rw.Flush()
	c.pause(20 * time.Millisecond)
	c.Host.cut(conn)
}

// sendHangMid sends half of the body and then nothing more.
func sendHangMid(c *Call, r *Reply) {
	r.whole()
	r.headers(c.W.Header())
	c.W.Header().Set("Content-Length", strconv.Itoa(len(r.Body)))
	c.W.WriteHeader(r.Status)
	_, _ = c.W.Write(r.Body[:len(r.Body)/2])
	_ = http.NewResponseController(c.W).Flush()
	c.hang()
	panic(http.ErrAbortHandler)
}

// sendDrip sends one byte at a time.
func sendDrip(every time.Duration) func(*Call, *Reply) {
	return func(c *Call, r *Reply) {
		r.whole()
		r.headers(c.W.Header())
		c.W.Header().Set("Content-Length", strconv.Itoa(len(r.Body)))
		c.W.WriteHeader(r.Status)
		rc := http.NewResponseController(c.W)
		for i := range r.Body {
			if _, err := c.W.Write(r.Body[i : i+1]); err != nil {
				panic(http.ErrAbortHandler)
			}
			if rc.Flush() != nil || !c.Wait(every) || c.over() {
				panic(http.ErrAbortHandler)
			}
		}
	}
}

// sendChunkedNoEnd sends the whole body in chunks, without the chunk that says it is whole.
func sendChunkedNoEnd(c *Call, r *Reply) {
	r.headers(c.W.Header())
	c.W.WriteHeader(r.Status)
	if r.Stream != nil {
		_ = r.Stream(c.W)
	} else {
		_, _ = c.W.Write(r.Body)
	}
	_ = http.NewResponseController(c.W).Flush()
	c.pause(20 * time.Millisecond)
	panic(http.ErrAbortHandler)
}
