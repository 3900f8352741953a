package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Wait is a length of time in a command, written as text ("48h").
type Wait time.Duration

// UnmarshalText reads it.
func (d *Wait) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Wait(v)
	return err
}

// MarshalText writes it.
func (d Wait) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Decode reads a command strictly.
func Decode(r *http.Request, into any) error {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return errors.New("send the command as application/json")
	}
	dec := json.NewDecoder(io.LimitReader(r.Body, MaxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("command: %w", err)
	}
	return nil
}

// serveOwn answers the simulator's own pages, which no platform has: they are not counted and ask for no token.
func (h *Host) serveOwn(w http.ResponseWriter, r *http.Request) {
	show := func(status int, v any) {
		w.Header().Set("Content-Type", JSON)
		w.WriteHeader(status)
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(v)
	}
	fail := func(status int, message string) { show(status, map[string]string{"error": message}) }
	// A web page that the user happens to look at must not steer the simulator: a browser names the page's origin.
	if o := r.Header.Get("Origin"); r.Method == http.MethodPost && o != "" && o != "http://"+r.Host && o != "https://"+r.Host {
		fail(http.StatusForbidden, "requests from other web pages are refused")
		return
	}
	switch r.URL.Path + " " + r.Method {
	case "/__stats GET":
		show(http.StatusOK, h.Stats(false))
	case "/__stats POST":
		if r.URL.Query().Get("reset") != "1" {
			fail(http.StatusBadRequest, "POST /__stats?reset=1 starts the figures anew; GET /__stats shows them")
			return
		}
		show(http.StatusOK, h.Stats(true))
	case "/__faults GET":
		texts := []string{}
		for _, f := range *h.faults.Load() {
			texts = append(texts, f.text)
		}
		show(http.StatusOK, map[string]any{"active": texts})
	default:
		switch v := h.p.Own(w, r).(type) {
		case nil:
			fail(http.StatusNotFound, "the simulator's own pages: GET /__stats, POST /__stats?reset=1, GET /__truth, GET /__faults, POST /__control")
		case error:
			fail(http.StatusBadRequest, v.Error())
		default:
			show(http.StatusOK, v)
		}
	}
}

// trap is another origin on this machine, for redirects and links that lead away. It counts who came and who brought credentials along.
type trap struct {
	srv *http.Server
	url string

	mu                    sync.Mutex
	requests, credentials int64
}

// unreachable stands in when no other origin can be opened: a port that nobody listens on.
const unreachable = "http://127.0.0.1:9"

// Elsewhere is the address of the other origin, opened when it is first needed. It is a real listener: in a synctest bubble, give the
// fault an address of your own.
func (h *Host) Elsewhere() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trap != nil {
		return h.trap.url
	}
	if h.closing {
		return unreachable
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return unreachable
	}
	t := &trap{url: "http://" + ln.Addr().String()}
	t.srv = &http.Server{Handler: t, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = t.srv.Serve(ln) }()
	h.trap = t
	return t.url
}

var secretWords = []string{"access_token", "client_secret", "refresh_token", "appsecret_proof", "assertion="}

// ServeHTTP counts whoever lets himself be led here.
func (t *trap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, MaxBody))
	carried := r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Developer-Token") != ""
	for _, word := range secretWords {
		carried = carried || strings.Contains(r.URL.RawQuery, word) || strings.Contains(string(body), word)
	}
	t.mu.Lock()
	t.requests++
	if carried {
		t.credentials++
	}
	t.mu.Unlock()
	w.Header().Set("Content-Type", JSON)
	_, _ = io.WriteString(w, `{"data":[{"id":"foreign","name":"Foreign"}],"results":[]}`)
}

func (t *trap) counts(reset bool) (requests, credentials int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	requests, credentials = t.requests, t.credentials
	if reset {
		t.requests, t.credentials = 0, 0
	}
	return requests, credentials
}
