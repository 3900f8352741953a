package simulator

import (
	"net/http"
	"strconv"
	"time"
)

func transportFaults() []Fault {
	const section = "transport"
	sends := func(name string, numbers []int, help string, send func(*call, *reply)) Fault {
		return Fault{
			Name: name, Numbers: numbers, Section: section, Help: help, Default: anyOnce,
			hooks: hooks{finish: func(_ *call, _ *activeFault, r *reply) { r.send = send }},
		}
	}
	amount := func(name, def, help string) Param { return Param{Name: name, Default: def, Help: help, kind: number} }
	return []Fault{
		{
			Name: "reset-before-headers", Numbers: []int{41}, Section: section, Help: "the connection is reset before an answer; nothing was done", Default: anyOnce,
			hooks: hooks{instead: func(*call, *activeFault) *reply { return &reply{send: sendReset} }},
		},
		sends("reset-mid-body", []int{42}, "the connection is reset in the middle of the body", sendResetMid),
		{
			Name: "hang", Numbers: []int{43, 115}, Section: section, Help: "no answer at all", Default: anyOnce,
			hooks: hooks{instead: func(c *call, _ *activeFault) *reply { return c.silence() }},
		},
		sends("hang-mid-body", []int{44}, "half of the body, then nothing", sendHangMid),
		{
			Name: "drip", Numbers: []int{45}, Section: section, Help: "the body comes a byte at a time", Default: anyOnce,
			Params: []Param{{Name: "every", Default: "1s", Help: "pause between two bytes", kind: duration}},
			hooks:  hooks{finish: func(_ *call, f *activeFault, r *reply) { r.send = sendDrip(f.dur("every")) }},
		},
		sends("chunked-no-end", []int{46}, "a chunked body without its last chunk, though the JSON is whole", sendChunkedNoEnd),
		{
			Name: "length-long", Numbers: []int{47}, Section: section, Help: "Content-Length promises more than comes", Default: anyOnce,
			Params: []Param{amount("by", "10", "bytes")},
			hooks:  hooks{finish: func(_ *call, f *activeFault, r *reply) { r.send = sendLength(int(f.num("by"))) }},
		},
		{
			Name: "length-short", Numbers: []int{47}, Section: section, Help: "Content-Length promises less than comes", Default: anyOnce,
			Params: []Param{amount("by", "10", "bytes")},
			hooks:  hooks{finish: func(_ *call, f *activeFault, r *reply) { r.send = sendLength(-int(f.num("by"))) }},
		},
		{
			Name: "gzip-bomb", Numbers: []int{48}, Section: section, Help: "a small body that unpacks to a huge one", Default: anyOnce,
			Params: []Param{amount("mib", "2048", "unpacked size in MiB")},
			hooks:  hooks{finish: func(_ *call, f *activeFault, r *reply) { r.send = sendBomb(min(f.num("mib"), 1<<20) << 20) }},
		},
		{
			Name: "endless-body", Numbers: []int{48}, Section: section, Help: "blank space without end in front of the JSON", Default: anyOnce,
			Params: []Param{amount("mib", "65536", "where it ends after all, in MiB")},
			hooks:  hooks{finish: func(_ *call, f *activeFault, r *reply) { r.send = sendEndless(min(f.num("mib"), 1<<20) << 20) }},
		},
		{
			Name: "header-flood", Numbers: []int{49}, Section: section, Help: "megabytes of headers", Default: anyOnce,
			Params: []Param{amount("kib", "4096", "how much, in KiB")},
			hooks:  hooks{finish: func(_ *call, f *activeFault, r *reply) { r.send = sendHeaderFlood(int(min(f.num("kib"), 1<<16)) << 10) }},
		},
		{
			Name: "close-after-each", Numbers: []int{50}, Section: section, Help: "Connection: close with every answer; a GOAWAY over HTTP/2", Default: "endpoint=any",
			hooks: hooks{finish: func(_ *call, _ *activeFault, r *reply) { r.send = sendClose }},
		},
		{
			Name: "close-silently", Numbers: []int{50}, Section: section, Help: "the connection is closed after the answer, unannounced", Default: "endpoint=api",
			hooks: hooks{finish: func(_ *call, _ *activeFault, r *reply) { r.send = sendCloseSilently }},
		},
		{
			Name: "stale-connection", Numbers: []int{50}, Section: section, Help: "the connection is reset as soon as it is used again", Default: "endpoint=api",
			hooks: hooks{finish: func(_ *call, _ *activeFault, r *reply) { r.send = sendStale }},
		},
		{
			Name: "idle-close", Numbers: []int{50}, Section: section, Help: "idle connections are closed early; set when the server starts",
			Params: []Param{{Name: "idle", Default: "200ms", Help: "after how long", kind: duration}},
			hooks:  hooks{server: true},
		},
		{
			Name: "redirect-other-port", Numbers: []int{51}, Section: section, Help: "a redirect to another port of the same host", Default: anyOnce,
			Params: []Param{redirectTo(), {Name: "code", Default: "307", Help: "status", Values: []string{"301", "302", "303", "307", "308"}, kind: number}},
			hooks:  hooks{instead: func(c *call, f *activeFault) *reply { return redirect(int(f.num("code")), c.abroad(f)) }},
		},
		{
			Name: "redirect-other-host", Numbers: []int{52, 53}, Section: section, Help: "a redirect to another host", Default: anyOnce,
			Params: []Param{
				{Name: "to", Default: "http://foreign.invalid/", Help: "where to", kind: link},
				{Name: "code", Default: "302", Help: "status", Values: []string{"301", "302", "303", "307", "308"}, kind: number},
			},
			hooks: hooks{instead: func(c *call, f *activeFault) *reply { return redirect(int(f.num("code")), c.abroad(f)) }},
		},
		{
			Name: "redirect-sync", Numbers: []int{52}, Section: section, Help: "one campaign's sync is redirected elsewhere", Default: oneSync,
			Params: []Param{redirectTo()},
			hooks:  hooks{instead: func(c *call, f *activeFault) *reply { return redirect(http.StatusTemporaryRedirect, c.abroad(f)) }},
		},
		{
			Name: "redirect-self", Numbers: []int{52}, Section: section, Help: "a redirect to the very same address, for ever", Default: always,
			hooks: hooks{instead: func(c *call, _ *activeFault) *reply { return redirect(http.StatusFound, c.r.URL.RequestURI()) }},
		},
		{
			Name: "tls-expired", Numbers: []int{54}, Section: section, Help: "with TLS: the certificate is out of date; set when the server starts", hooks: hooks{server: true},
		},
		{
			Name: "tls-wrong-name", Numbers: []int{54}, Section: section, Help: "with TLS: the certificate is another host's; set when the server starts", hooks: hooks{server: true},
		},
		{
			Name: "tls-downgrade", Numbers: []int{54}, Section: section, Help: "a redirect to plain http on the same host and port", Default: anyOnce,
			hooks: hooks{instead: func(c *call, _ *activeFault) *reply {
				return redirect(http.StatusMovedPermanently, "http://"+c.r.Host+c.r.URL.RequestURI())
			}},
		},
		{
			Name: "bad-gateway-html", Numbers: []int{56}, Section: section, Help: "502, 503 or 504 with an HTML page", Default: anyOnce,
			Params: []Param{{Name: "code", Default: "502", Help: "status", Values: []string{"502", "503", "504"}, kind: number}},
			hooks:  hooks{instead: func(_ *call, f *activeFault) *reply { return htmlPage(int(f.num("code"))) }},
		},
		{
			Name: "503-retry-after", Numbers: []int{56}, Section: section, Help: "a 503 that says when to come back", Default: anyOnce,
			Params: []Param{refusedFor("3s")},
			hooks: hooks{instead: func(c *call, f *activeFault) *reply {
				wait := ceilSeconds(f.dur("wait"))
				c.tell(c.endpoint, time.Duration(wait)*time.Second)
				return unavailable().with("Retry-After", strconv.FormatInt(wait, 10))
			}},
		},
		{
			Name: "outage", Numbers: []int{57}, Section: section, Help: "the whole host is down for a while; for=0 is for good", Default: "endpoint=any,after=20,for=8s",
			Params: []Param{{Name: "how", Default: "503", Help: "what a request meets", Values: []string{"503", "reset", "hang"}}},
			hooks: hooks{host: true, arrive: func(c *call, f *activeFault) *reply {
				c.s.mu.Lock()
				c.s.global.outage++
				c.s.mu.Unlock()
				switch f.str("how") {
				case "reset":
					return &reply{send: sendReset}
				case "hang":
					return c.silence()
				}
				return unavailable()
			}},
		},
	}
}
