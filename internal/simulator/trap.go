package simulator

import (
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// trap is another origin on this machine, for redirects and links that lead away. It answers as if it were the platform, with a campaign
// that must never be stored, and counts who came and who brought credentials along.
type trap struct {
	srv *http.Server
	url string

	mu                    sync.Mutex
	requests, credentials int64
}

// foreignID is the campaign that only the other origin has.
const foreignID = "campaign_foreign"

// unreachable stands in when no other origin can be opened: a port that nobody listens on.
const unreachable = "http://127.0.0.1:9"

// elsewhere is the address of the other origin, opened when it is first needed. It is a real listener: in a synctest bubble, give the
// fault an address of your own (to=).
func (s *Server) elsewhere() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trap != nil {
		return s.trap.url
	}
	if s.closing {
		return unreachable
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return unreachable
	}
	t := &trap{url: "http://" + ln.Addr().String()}
	t.srv = &http.Server{Handler: t, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = t.srv.Serve(ln) }()
	s.trap = t
	return t.url
}

// ServeHTTP plays the platform to whoever lets himself be led here.
func (t *trap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxRequestBody))
	t.mu.Lock()
	t.requests++
	if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || strings.Contains(r.URL.RawQuery+string(body), "sim_") {
		t.credentials++
	}
	t.mu.Unlock()
	w.Header().Set("Content-Type", jsonType)
	switch r.URL.Path {
	case "/auth/token":
		_, _ = io.WriteString(w, `{"access_token":"sim_foreign","token_type":"Bearer","expires_in":3600}`)
	case "/api/campaigns":
		_, _ = io.WriteString(w, `{"data":[{"id":"`+foreignID+`","name":"Foreign","status":"active","budget":1,"impressions":1,"clicks":1,"conversions":1,"created_at":"2024-01-01T00:00:00.000Z"}],"pagination":{"page":1,"limit":10,"total":1,"has_more":false}}`)
	default:
		_, _ = io.WriteString(w, `{"success":true,"campaign_id":"`+foreignID+`","synced_at":"2024-01-01T00:00:00.000Z","message":"Campaign synced"}`)
	}
}

func (t *trap) counts() (requests, credentials int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requests, t.credentials
}

func (t *trap) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests, t.credentials = 0, 0
}

func (t *trap) close() { _ = t.srv.Close() }
