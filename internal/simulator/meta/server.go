package meta

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// Server is a simulated Marketing API. It is an http.Handler, safe for concurrent use; Serve puts it on a listener.
type Server struct {
	cfg    Config
	host   *stage.Host
	w      *world.World
	newest int // of the versions
	born   int64
	serial atomic.Int64
	inURL  atomic.Int64 // requests whose token came in the address

	mu     sync.Mutex
	tokens map[string]*token
	uses   map[int]*use
	app    appUse
	jobs   jobs
}

// New checks the configuration and makes a server; nothing runs until it is asked. Close ends it.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.normalise()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, tokens: map[string]*token{}, uses: map[int]*use{}, born: time.Now().UnixNano()}
	if s.host, err = stage.NewHost(s, catalogue(s), cfg.host()); err != nil {
		return nil, err
	}
	if s.w, err = world.New(cfg.world(world.DayOf(s.host.Now()).Monday())); err != nil {
		return nil, err
	}
	s.app.calls.Span, s.app.insights.Span = s.host.Scaled(time.Hour), s.host.Scaled(time.Hour)
	s.jobs.init()
	for _, v := range cfg.Versions {
		n, _ := parseVersion(v)
		s.newest = max(s.newest, n)
	}
	return s, s.newTokens()
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
	version    string
	segs       []string // of the path, without the version
	obj        object
	edge       string
	p          url.Values
	token      *token
	tokenText  string
	tokenInURL string
	trace      string
	charged    bool // the account's use is to be told
	insights   bool
}

// endpoints in the order of the documentation; the names that faults and statistics know.
var endpoints = []string{
	"me", "adaccounts", "businesses", "account", "business", "campaigns", "adsets", "ads", "node",
	"insights", "job_create", "job", "job_insights", "batch", "debug_token", "token", "dialog",
}

var groups = map[string][]string{
	"api":      {"me", "adaccounts", "businesses", "account", "business", "campaigns", "adsets", "ads", "node", "insights", "job_create", "job", "job_insights"},
	"entities": {"campaigns", "adsets", "ads"},
	"reports":  {"insights", "job_insights"},
}

// Route says what is asked for.
func (s *Server) Route(c *stage.Call) {
	rq := &request{}
	c.State = rq
	segs := strings.Split(strings.Trim(c.R.URL.Path, "/"), "/")
	if segs[0] == "" {
		segs = nil
	}
	if len(segs) > 0 {
		if _, ok := parseVersion(segs[0]); ok {
			rq.version, segs = segs[0], segs[1:]
		}
	}
	rq.segs = segs
	post := c.R.Method == http.MethodPost
	switch len(segs) {
	case 0:
		if post {
			c.Endpoint = "batch"
		}
	case 1:
		if segs[0] == "debug_token" {
			c.Endpoint = "debug_token"
			return
		}
		rq.obj = parseID(segs[0])
		if !post {
			c.Endpoint = map[objectKind]string{aUser: "me", anAccount: "account", aBusiness: "business", aThing: "node", aReport: "job"}[rq.obj.kind]
		}
	case 2:
		switch segs[0] + "/" + segs[1] {
		case "oauth/access_token":
			c.Endpoint = "token"
			return
		case "dialog/oauth":
			c.Endpoint = "dialog"
			return
		}
		rq.obj, rq.edge = parseID(segs[0]), segs[1]
		c.Endpoint = edgeOf(rq.obj, rq.edge, post)
	}
	switch rq.obj.kind {
	case anAccount, aThing:
		if rq.obj.account >= 1 && rq.obj.account <= s.cfg.Accounts {
			c.Account = "act_" + accountID(rq.obj.account)
		}
	case aReport:
		if j := s.job(rq.obj.serial); j != nil {
			c.Account, c.Level = "act_"+accountID(j.q.account), levelNames[j.q.level]
		}
	}
	switch c.Endpoint {
	case "campaigns", "adsets", "ads":
		c.Level = strings.TrimSuffix(c.Endpoint, "s")
	case "node":
		c.Level = levelNames[rq.obj.level]
	case "insights":
		c.Level = c.R.URL.Query().Get("level")
	}
	if c.Level == "" && rq.edge == "insights" {
		c.Level = "account"
	}
}

func edgeOf(o object, edge string, post bool) string {
	switch {
	case edge == "insights" && post && (o.kind == anAccount || o.kind == aThing):
		return "job_create"
	case post:
		return ""
	case edge == "insights" && o.kind == aReport:
		return "job_insights"
	case edge == "insights" && (o.kind == anAccount || o.kind == aThing):
		return "insights"
	case o.kind == aUser && (edge == "adaccounts" || edge == "assigned_ad_accounts"), o.kind == aBusiness && (edge == "owned_ad_accounts" || edge == "client_ad_accounts"):
		return "adaccounts"
	case o.kind == aUser && edge == "businesses":
		return "businesses"
	case o.kind == anAccount && (edge == "campaigns" || edge == "adsets" || edge == "ads"),
		o.kind == aThing && o.level == world.OfCampaign && (edge == "adsets" || edge == "ads"),
		o.kind == aThing && o.level == world.OfGroup && edge == "ads":
		return edge
	}
	return ""
}

var levelNames = [...]string{"account", "campaign", "adset", "ad"}

// Answer does the work, and tells how much of the quotas is used.
func (s *Server) Answer(c *stage.Call) *stage.Reply {
	rq := c.State.(*request)
	rp := s.answer(c, rq)
	if rp == stage.Gone {
		return rp
	}
	trace := traceID(s, c)
	version := rq.version
	if !slices.Contains(s.cfg.Versions, version) {
		version = s.cfg.Versions[0]
	}
	rp.With("Facebook-Api-Version", version).With("X-Fb-Trace-Id", trace).With("X-Fb-Request-Id", trace).With("X-Fb-Rev", "1030000000")
	s.tellUse(c, rq, rp)
	return rp
}

func (s *Server) answer(c *stage.Call, rq *request) *stage.Reply {
	switch c.Endpoint {
	case "dialog":
		return s.serveDialog(c)
	case "":
		if rq.obj.kind == noObject && len(rq.segs) > 0 && len(rq.segs) <= 2 && rq.version != "" && isID(rq.segs[0]) {
			return s.fail(c, *notThere(c.R.Method, rq.segs[0]))
		}
		if rq.edge != "" {
			return s.fail(c, *invalid("Tried accessing nonexisting field (%.60s) on node type (%s)", rq.edge, nodeType(rq.obj)))
		}
		return s.fail(c, graphError{code: 2500, message: "Unknown path components: /" + strings.Join(rq.segs, "/"), outcome: stage.Bad})
	}
	var e *graphError
	if rq.p, e = readParams(c); e != nil {
		return s.fail(c, *e)
	}
	switch c.Endpoint {
	case "token":
		return s.serveToken(c, rq)
	case "debug_token":
		return s.serveDebug(c, rq)
	}
	if e := s.version(c, rq); e != nil {
		return s.fail(c, *e)
	}
	if e := s.authorise(c, rq); e != nil {
		return s.fail(c, *e)
	}
	if c.Endpoint == "batch" {
		return s.serveBatch(c, rq)
	}
	if e := s.access(c, rq); e != nil {
		return s.fail(c, *e)
	}
	if rp := s.charge(c, rq); rp != nil {
		return rp
	}
	if rp := c.Instead(); rp != nil {
		return rp
	}
	rp, e := s.serve(c, rq)
	if e != nil {
		s.blame(c, rq)
		return s.fail(c, *e)
	}
	return rp
}

func isID(s string) bool {
	digits := strings.TrimPrefix(s, "act_")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

func nodeType(o object) string {
	switch o.kind {
	case aUser:
		return "User"
	case aBusiness:
		return "Business"
	case anAccount:
		return "AdAccount"
	case aReport:
		return "AdReportRun"
	case aThing:
		return [...]string{"", "AdCampaignGroup", "AdCampaign", "Adgroup"}[o.level]
	case noObject:
	}
	return "Unknown"
}

// version holds the path's version against those that work.
func (s *Server) version(c *stage.Call, rq *request) *graphError {
	sunset := c.Play("version-sunset")
	if rq.version != "" && sunset == nil && slices.Contains(s.cfg.Versions, rq.version) {
		return nil
	}
	n, ok := parseVersion(rq.version)
	switch {
	case !ok, n <= s.newest && !s.cfg.Upgrade, sunset != nil:
		return &graphError{
			code: 2635, outcome: stage.Bad,
			message: "(#2635) You are calling a deprecated version of the Ads API. Please update to the latest version: " + s.cfg.Versions[len(s.cfg.Versions)-1] + ".",
		}
	case n > s.newest:
		return &graphError{code: 2500, message: "Unknown path components: /" + rq.version + "/" + strings.Join(rq.segs, "/"), outcome: stage.Bad}
	}
	return nil // upgraded, without a word
}

// denied says whether an account is listed but gives no permission.
func (s *Server) denied(account int) bool { return account > s.cfg.Accounts-s.cfg.Denied }

// access holds the object against what the token may see.
func (s *Server) access(c *stage.Call, rq *request) *graphError {
	o := rq.obj
	account := o.account
	switch o.kind {
	case aBusiness:
		if !s.scoped("business_management") {
			return errNoBusiness
		}
		if o.serial < 1 || o.serial > s.cfg.Businesses {
			return notThere(c.R.Method, rq.segs[0])
		}
		return nil
	case aReport:
		j := s.job(o.serial)
		if j == nil {
			return notThere(c.R.Method, rq.segs[0])
		}
		account = j.q.account
	case anAccount, aThing:
		if account < 1 || account > s.cfg.Accounts {
			return notThere(c.R.Method, rq.segs[0])
		}
	case aUser:
		if rq.edge == "businesses" && !s.scoped("business_management") {
			return errNoBusiness
		}
		return nil
	case noObject:
		return nil
	}
	if !rq.token.sees(account) {
		return notThere(c.R.Method, rq.segs[0])
	}
	if s.denied(account) || !s.scoped("ads_read") && !s.scoped("ads_management") {
		return errNoPermission
	}
	if f := c.Play("permission"); f != nil {
		if f.Num("code") == 10 {
			return errNotGranted
		}
		return errNoPermission
	}
	return nil
}

func (s *Server) serve(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	switch c.Endpoint {
	case "me", "account", "business", "node":
		return s.serveNode(c, rq)
	case "adaccounts", "businesses", "campaigns", "adsets", "ads":
		return s.serveEdge(c, rq)
	case "insights":
		return s.serveInsights(c, rq)
	case "job_create":
		return s.serveCreate(c, rq)
	case "job":
		return s.serveJob(c, rq)
	case "job_insights":
		return s.serveResults(c, rq)
	}
	return nil, notThere(c.R.Method, "")
}

const maxBatch = 50

// serveBatch answers each part as if it had come alone.
func (s *Server) serveBatch(c *stage.Call, rq *request) *stage.Reply {
	var parts []struct {
		Method string `json:"method"`
		URL    string `json:"relative_url"`
		Body   string `json:"body"`
	}
	if c.Inner || json.Unmarshal([]byte(rq.p.Get("batch")), &parts) != nil || len(parts) == 0 {
		return s.fail(c, *invalid("param batch must be an array."))
	}
	if len(parts) > maxBatch {
		return s.fail(c, graphError{code: 1, message: "Too many requests in batch message. Maximum batch size is 50", outcome: stage.Bad})
	}
	if rp := c.Instead(); rp != nil {
		return rp
	}
	type header struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	type answer struct {
		Code    int      `json:"code"`
		Headers []header `json:"headers,omitempty"`
		Body    string   `json:"body"`
	}
	out := make([]*answer, len(parts))
	cut := len(parts)
	if f := c.Play("batch-null"); f != nil {
		cut = len(parts) / 2
	}
	for i, p := range parts[:cut] {
		target := "/" + strings.TrimPrefix(p.URL, "/")
		if first, _, _ := strings.Cut(target[1:], "/"); first == "" || first[0] != 'v' {
			target = "/" + rq.version + target
		}
		r, err := http.NewRequestWithContext(c.R.Context(), p.Method, target, strings.NewReader(p.Body))
		if err != nil || !slices.Contains([]string{http.MethodGet, http.MethodPost}, p.Method) {
			out[i] = &answer{Code: http.StatusBadRequest, Body: string(s.fail(c, *invalid("batch[%d] is not a GET or POST of a relative_url", i)).Body)}
			continue
		}
		r.Header.Set("Authorization", "Bearer "+rq.tokenText)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Host = c.R.Host
		if proof := rq.p.Get("appsecret_proof"); proof != "" && r.URL.Query().Get("appsecret_proof") == "" {
			q := r.URL.Query()
			q.Set("appsecret_proof", proof)
			r.URL.RawQuery = q.Encode()
		}
		rp := c.Inside(r)
		if rp == stage.Gone {
			continue
		}
		a := &answer{Code: rp.Status, Body: string(rp.Body)}
		if rq.p.Get("include_headers") != "false" {
			for _, kv := range rp.Header {
				a.Headers = append(a.Headers, header{kv[0], kv[1]})
			}
		}
		out[i] = a
	}
	b, err := json.Marshal(out)
	if err != nil {
		return s.fail(c, graphError{status: 500, code: 1, message: "An unknown error occurred"})
	}
	return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: b}
}
