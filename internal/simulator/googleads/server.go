package googleads

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// Server is a simulated Google Ads API. It is an http.Handler, safe for concurrent use; Serve puts it on a listener.
type Server struct {
	cfg     Config
	host    *stage.Host
	w       *world.World
	born    int64
	serial  atomic.Int64
	keyOnce sync.Once
	rsa     *rsa.PrivateKey

	mu    sync.Mutex
	creds credentials
	quota quotas
}

// New checks the configuration and makes a server; nothing runs until it is asked. Close ends it.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.normalise()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, born: time.Now().UnixNano()}
	if s.host, err = stage.NewHost(s, catalogue(s), cfg.host()); err != nil {
		return nil, err
	}
	if s.w, err = world.New(cfg.world(world.DayOf(s.host.Now()).Monday())); err != nil {
		return nil, err
	}
	s.quota.paces, s.quota.byDemand = map[int64]*pace{}, map[string]*stop{}
	s.quota.ops.Span = s.host.Scaled(24 * time.Hour)
	s.initTokens()
	return s, nil
}

// Config is the configuration in force, with defaults filled in.
func (s *Server) Config() Config { return s.cfg }

// Close ends every wait. It may be called more than once.
func (s *Server) Close() error { return s.host.Close() }

// CAPEM is the certificate authority that a client must trust to talk to a server with TLS; nil without TLS.
func (s *Server) CAPEM() []byte { return s.host.CAPEM() }

// ServeHTTP answers as the platform would.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.host.ServeHTTP(w, r) }

// Serve answers on the listener until ctx ends. It closes the listener, and returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error { return s.host.Serve(ctx, ln) }

// Stats is how clients behaved since the start or the last reset.
func (s *Server) Stats() stage.Stats { return s.host.Stats(false) }

// ResetStats starts the figures anew.
func (s *Server) ResetStats() { s.host.Stats(true) }

// Now is what the platform's clock shows.
func (s *Server) Now() time.Time { return s.host.Now() }

// request is what the server knows of one on its way.
type request struct {
	version  string
	rest     string // of the path, without the version
	name     string // the customer's id as it stands in the path
	customer node
	id       string
}

// versionOr is the version that error bodies name.
func (rq *request) versionOr() int {
	if n, ok := parseVersion(rq.version); ok {
		return n
	}
	return newestVersion
}

var endpoints = []string{"token", "dialog", "list", "search", "stream"}

var groups = map[string][]string{"api": {"list", "search", "stream"}, "queries": {"search", "stream"}}

// Route says what is asked for.
func (s *Server) Route(c *stage.Call) {
	rq := &request{}
	c.State = rq
	path := strings.Trim(c.R.URL.Path, "/")
	switch path {
	case "token", "oauth2/token", "o/oauth2/token":
		c.Endpoint = "token"
		return
	case "o/oauth2/v2/auth", "o/oauth2/auth":
		c.Endpoint = "dialog"
		return
	}
	rq.version, rq.rest, _ = strings.Cut(path, "/")
	if _, ok := parseVersion(rq.version); !ok {
		return
	}
	if rq.rest == "customers:listAccessibleCustomers" && c.R.Method == http.MethodGet {
		c.Endpoint = "list"
		return
	}
	parts := strings.Split(rq.rest, "/")
	if len(parts) != 3 || parts[0] != "customers" || c.R.Method != http.MethodPost {
		return
	}
	switch parts[2] {
	case "googleAds:search":
		c.Endpoint = "search"
	case "googleAds:searchStream":
		c.Endpoint = "stream"
	default:
		return
	}
	rq.name = parts[1]
	if n, ok := s.find(rq.name); ok {
		rq.customer, c.Account = n, n.text()
	}
}

// Answer does the work.
func (s *Server) Answer(c *stage.Call) *stage.Reply {
	rq := c.State.(*request)
	switch c.Endpoint {
	case "token":
		return s.serveToken(c)
	case "dialog":
		return s.serveDialog(c)
	case "":
		rp := stage.HTML(http.StatusNotFound)
		rp.Outcome = stage.Bad
		return rp
	}
	if e := s.version(c, rq); e != nil {
		return s.fail(c, e)
	}
	if e := s.authorise(c); e != nil {
		return s.fail(c, e)
	}
	if c.Endpoint == "list" {
		if e := s.charge(c, false); e != nil {
			return s.fail(c, e)
		}
		if rp := c.Instead(); rp != nil {
			return rp
		}
		return s.serveList(c)
	}
	if e := s.access(c, rq); e != nil {
		return s.fail(c, e)
	}
	in, e := readBody(c)
	if e != nil {
		return s.fail(c, e)
	}
	if e := s.charge(c, in.PageToken != ""); e != nil {
		return s.fail(c, e)
	}
	q, f := s.compile(in.Query, rq.customer)
	if f != nil {
		return s.fail(c, invalid(f))
	}
	c.Level = q.from
	if rp := c.Instead(); rp != nil {
		return rp
	}
	rp, e := s.serveQuery(c, rq, q, in)
	if e != nil {
		return s.fail(c, e)
	}
	return rp.With("Request-Id", s.requestID(c))
}

// version holds the path's version against those that work.
func (s *Server) version(c *stage.Call, rq *request) *apiError {
	n, _ := parseVersion(rq.version)
	if slices.Contains(s.cfg.Versions, n) && c.Play("version-sunset") == nil {
		return nil
	}
	return refusal(http.StatusBadRequest, "requestError", "UNSUPPORTED_VERSION", "Version %s is deprecated. Requests to this version will be blocked.", rq.version)
}

// access holds the customer, and the manager that is named with it, against what the user may see.
func (s *Server) access(c *stage.Call, rq *request) *apiError {
	if !isID(rq.name) {
		return refusal(http.StatusBadRequest, "requestError", "INVALID_CUSTOMER_ID", "Invalid customer ID '%.40s'.", rq.name)
	}
	if c.Account == "" {
		return refusal(http.StatusBadRequest, "authenticationError", "CUSTOMER_NOT_FOUND", "No customer found for the provided customer id.")
	}
	denied := refusal(http.StatusForbidden, "authorizationError", "USER_PERMISSION_DENIED",
		"User doesn't have permission to access customer. Note: If you're accessing a client customer, the manager's customer id must be set in the 'login-customer-id' header.")
	denied.outcome = stage.Forbidden
	login := c.R.Header.Get("Login-Customer-Id")
	switch {
	case login == "":
		if !s.direct(rq.customer) {
			return denied
		}
	case !isID(login):
		return refusal(http.StatusBadRequest, "headerError", "INVALID_LOGIN_CUSTOMER_ID", "The login customer ID could not be validated.")
	default:
		top, ok := s.find(login)
		root := node{manager: top.manager}
		switch {
		case !ok || !s.direct(top) && (top.account > 0 || !s.direct(root)):
			return denied
		case !under(rq.customer, top):
			e := refusal(http.StatusForbidden, "authorizationError", "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION", "The login customer and the serving customer do not go together.")
			e.outcome = stage.Forbidden
			return e
		}
	}
	if s.denied(rq.customer) || c.Play("permission") != nil {
		return denied
	}
	if s.cfg.Access == "test" {
		e := refusal(http.StatusForbidden, "authorizationError", "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION", "The Google Cloud project is only approved for use with test accounts.")
		e.outcome = stage.Forbidden
		return e
	}
	if s.life(rq.customer) != "ENABLED" {
		e := refusal(http.StatusForbidden, "authorizationError", "CUSTOMER_NOT_ENABLED", "The customer account can't be accessed because it is not yet enabled or has been deactivated.")
		e.outcome = stage.Forbidden
		return e
	}
	return nil
}

func (s *Server) denied(n node) bool { return n.account > s.cfg.Accounts-s.cfg.Denied }

// life is a customer's status.
func (s *Server) life(n node) string {
	if last := s.cfg.Accounts - s.cfg.Denied; n.account > last-s.cfg.Canceled && n.account <= last {
		return "CANCELED"
	}
	return "ENABLED"
}

// accountOf is what is known of a customer; a manager has the first account's currency and time zone.
func (s *Server) accountOf(n node) world.Account { return s.w.Account(max(1, n.account)) }

func (s *Server) customerName(n node) string {
	switch {
	case n.account > 0:
		return s.w.Account(n.account).Name
	case n.branch:
		return fmt.Sprintf("Branch %d", n.manager)
	}
	return fmt.Sprintf("Agency %d", n.manager)
}

// body is what search and searchStream take.
type body struct {
	Query          string    `json:"query"`
	PageToken      string    `json:"pageToken"`
	PageSize       *int      `json:"pageSize"`
	ValidateOnly   bool      `json:"validateOnly"`
	SearchSettings *settings `json:"searchSettings"`
	SummaryRow     string    `json:"summaryRowSetting"`
}

type settings struct {
	OmitResults             bool `json:"omitResults"`
	ReturnTotalResultsCount bool `json:"returnTotalResultsCount"`
	ReturnSummaryRow        bool `json:"returnSummaryRow"`
}

func readBody(c *stage.Call) (body, *apiError) {
	var in body
	if kind, _, _ := mime.ParseMediaType(c.R.Header.Get("Content-Type")); kind != "application/json" {
		return in, &apiError{status: http.StatusBadRequest, message: "Invalid JSON payload received. Send it as application/json."}
	}
	dec := json.NewDecoder(bytes.NewReader(c.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return in, &apiError{status: http.StatusBadRequest, message: fmt.Sprintf("Invalid JSON payload received. %.200s", err)}
	}
	if _, err := dec.Token(); err != io.EOF {
		return in, &apiError{status: http.StatusBadRequest, message: "Invalid JSON payload received. Something comes after the object."}
	}
	if c.Endpoint == "stream" && (in.PageToken != "" || in.PageSize != nil || in.ValidateOnly || in.SearchSettings != nil) {
		return in, &apiError{status: http.StatusBadRequest, message: "Invalid JSON payload received. Unknown name: Cannot find field."}
	}
	if in.PageSize != nil {
		return in, refusal(http.StatusBadRequest, "requestError", "PAGE_SIZE_NOT_SUPPORTED", "Setting the page size is not supported.")
	}
	if in.Query == "" {
		return in, refusal(http.StatusBadRequest, "requestError", "REQUIRED_FIELD_MISSING", "Required field query is missing.")
	}
	if in.ValidateOnly && in.PageToken != "" {
		return in, refusal(http.StatusBadRequest, "requestError", "VALIDATE_ONLY_REQUEST_HAS_PAGE_TOKEN", "A validate_only request must not have a page token.")
	}
	return in, nil
}

// serveList names the customers that the user reaches directly.
func (s *Server) serveList(c *stage.Call) *stage.Reply {
	b := []byte(`{"resourceNames":[`)
	n := 0
	put := func(x node) {
		if n > 0 {
			b = append(b, ',')
		}
		n++
		b = append(append(append(b, `"customers/`...), x.text()...), '"')
	}
	for m := 1; m <= s.cfg.Managers; m++ {
		put(node{manager: m})
	}
	for a := 1; a <= s.cfg.Accounts; a++ {
		if x := (node{account: a, manager: s.rootOf(a)}); s.direct(x) {
			put(x)
		}
	}
	rp := &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: append(b, `]}`...), Rows: int64(n)}
	if n == 0 {
		rp.Body = []byte(`{}`)
	}
	return rp.With("Request-Id", s.requestID(c))
}

var _ stage.Platform = (*Server)(nil)
