// Package fakevault is a fake of HashiCorp Vault for tests: an HTTP handler that follows the published protocol in the parts that adsync
// uses. KV of both versions, an engine that lends values, tokens with policies and time to live, AppRole and Kubernetes logins, leases,
// namespaces, sealing, and the bodies of refusals. It is no Vault: nothing in it is safe.
//
// It imports nothing of adsync, so that it cannot be wrong in the same way.
package fakevault

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Root is a token that may do everything and never ends.
const Root = "hvs.fake-root-token"

// Vault is the fake. The zero value is not usable: call New.
type Vault struct {
	mu       sync.Mutex
	kv1      map[string]map[string]any // by namespace/path
	kv2      map[string][]*version     // by namespace/mount/path, without data/
	mounts   map[string]string         // "kv1", "kv2", "lend", by namespace/mount
	tokens   map[string]*Token         // by token
	policies map[string][]string       // paths that may be read, by name; * at the end stands for anything
	roles    map[string]*Role          // by namespace/mount/role id, and by namespace/mount/role name for Kubernetes
	leases   map[string]*Lease         // by id
	sealed   bool
	serial   int
	script   []func(http.ResponseWriter, *http.Request) bool
	requests []Request
	seen     chan Request
}

type version struct {
	data      map[string]any
	deleted   time.Time
	destroyed bool
}

// Token is what the fake knows of a token.
type Token struct {
	Policies  []string
	TTL       time.Duration // 0: it never ends
	Max       time.Duration // from its making; 0: no bound
	Renewable bool
	NoSelf    bool // its policies do not let it look at itself

	made, ends time.Time
	Renewed    int
}

// Role is a login.
type Role struct {
	Secret   string // the secret id, or the service account token; empty: none is wanted
	Token    Token
	LogIns   int
	Refusals int
}

// Lease is values on loan.
type Lease struct {
	TTL, Max   time.Duration
	Renewable  bool
	Renewed    int
	Refuse     bool // further renewals
	made, ends time.Time
}

// Request is what was asked.
type Request struct{ Method, Path, Query, Namespace, Token, Body string }

// New makes a Vault with KV version 2 at secret/, version 1 at kv/, and an engine that lends values at database/.
func New() *Vault {
	v := &Vault{
		kv1: map[string]map[string]any{}, kv2: map[string][]*version{}, mounts: map[string]string{}, tokens: map[string]*Token{}, policies: map[string][]string{},
		roles: map[string]*Role{}, leases: map[string]*Lease{}, seen: make(chan Request, 10_000),
	}
	v.Mount("", "secret", "kv2")
	v.Mount("", "kv", "kv1")
	v.Mount("", "database", "lend")
	v.policies["root"] = []string{"*"}
	v.AddToken(Root, Token{Policies: []string{"root"}})
	return v
}

// Serve starts the fake on loopback, for as long as the test runs.
func (v *Vault) Serve(t testing.TB) *httptest.Server {
	s := httptest.NewServer(v)
	t.Cleanup(s.Close)
	return s
}

// ServeTLS is Serve with a certificate that only its own authority vouches for.
func (v *Vault) ServeTLS(t testing.TB) *httptest.Server {
	s := httptest.NewUnstartedServer(v)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes are meant to fail
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (v *Vault) lock() func() { v.mu.Lock(); return v.mu.Unlock }

func in(namespace, path string) string { return strings.Trim(namespace, "/") + "|" + path }

// Look runs f while the fake stands still, so that it may read and change what AddRole, AddToken and Leases gave.
func (v *Vault) Look(f func()) {
	defer v.lock()()
	f()
}

// Logins counts a role's logins, and the refused ones.
func (v *Vault) Logins(r *Role) (good, refused int) {
	defer v.lock()()
	return r.LogIns, r.Refusals
}

// Mount puts an engine ("kv1", "kv2" or "lend") at a path.
func (v *Vault) Mount(namespace, mount, engine string) {
	defer v.lock()()
	v.mounts[in(namespace, mount)] = engine
}

// Put stores a secret at mount/path as the mount's engine keeps it.
func (v *Vault) Put(namespace, path string, data map[string]any) {
	defer v.lock()()
	mount, _, _ := strings.Cut(path, "/")
	if v.mounts[in(namespace, mount)] == "kv2" {
		k := in(namespace, path)
		v.kv2[k] = append(v.kv2[k], &version{data: data})
		return
	}
	v.kv1[in(namespace, path)] = data
}

// Delete marks the newest version of a KV version 2 secret as deleted, or as destroyed.
func (v *Vault) Delete(path string, destroy bool) {
	defer v.lock()()
	all := v.kv2[in("", path)]
	all[len(all)-1].deleted = time.Now()
	all[len(all)-1].destroyed = destroy
}

// Policy lets tokens with a policy read these paths.
func (v *Vault) Policy(name string, paths ...string) {
	defer v.lock()()
	v.policies[name] = paths
}

// AddToken makes a token known.
func (v *Vault) AddToken(id string, t Token) *Token {
	defer v.lock()()
	return v.addToken(id, t)
}

func (v *Vault) addToken(id string, t Token) *Token {
	t.made = time.Now()
	if t.TTL > 0 {
		t.ends = t.made.Add(t.TTL)
	}
	v.tokens[id] = &t
	return &t
}

// Revoke makes a token unknown.
func (v *Vault) Revoke(id string) {
	defer v.lock()()
	delete(v.tokens, id)
}

// Known reports whether a token holds.
func (v *Vault) Known(id string) bool {
	defer v.lock()()
	return v.token(id) != nil
}

// AddRole makes a login known at auth/mount: an AppRole by its role id, a Kubernetes role by its name.
func (v *Vault) AddRole(namespace, mount, role string, r Role) *Role {
	defer v.lock()()
	v.roles[in(namespace, mount+"/"+role)] = &r
	return &r
}

// Seal seals and unseals.
func (v *Vault) Seal(sealed bool) {
	defer v.lock()()
	v.sealed = sealed
}

// Next answers the next requests in its own way, one each; a function that gives false leaves its request to the fake.
func (v *Vault) Next(answers ...func(http.ResponseWriter, *http.Request) bool) {
	defer v.lock()()
	v.script = append(v.script, answers...)
}

// Forget takes back what Next was told and was not used.
func (v *Vault) Forget() {
	defer v.lock()()
	v.script = nil
}

// Answer is an answer for Next.
func Answer(status int, body string, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

// Requests are those so far.
func (v *Vault) Requests() []Request {
	defer v.lock()()
	return slices.Clone(v.requests)
}

// Count is how many requests there were to paths with this beginning.
func (v *Vault) Count(prefix string) int {
	n := 0
	for _, r := range v.Requests() {
		if strings.HasPrefix(r.Path, prefix) {
			n++
		}
	}
	return n
}

// Seen gives each request after it was answered.
func (v *Vault) Seen() <-chan Request { return v.seen }

// Leases gives those that hold.
func (v *Vault) Leases() map[string]*Lease {
	defer v.lock()()
	out := map[string]*Lease{}
	for id, l := range v.leases {
		if time.Now().Before(l.ends) {
			out[id] = l
		}
	}
	return out
}

func (v *Vault) token(id string) *Token {
	t := v.tokens[id]
	if t == nil || !t.ends.IsZero() && !time.Now().Before(t.ends) {
		return nil
	}
	return t
}

// ServeHTTP answers one request.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	req := Request{Method: r.Method, Path: strings.TrimPrefix(r.URL.Path, "/v1/"), Query: r.URL.RawQuery, Namespace: strings.Trim(r.Header.Get("X-Vault-Namespace"), "/"), Token: r.Header.Get("X-Vault-Token"), Body: string(body)}
	v.mu.Lock()
	v.requests = append(v.requests, req)
	var scripted func(http.ResponseWriter, *http.Request) bool
	if len(v.script) > 0 {
		scripted, v.script = v.script[0], v.script[1:]
	}
	v.mu.Unlock()
	defer func() {
		select {
		case v.seen <- req:
		default:
		}
	}()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if scripted != nil && scripted(w, r) {
		return
	}
	defer v.lock()()
	v.answer(w, r, req)
}

func (v *Vault) answer(w http.ResponseWriter, r *http.Request, req Request) {
	switch {
	case r.Header.Get("X-Vault-Request") != "true":
		refuse(w, http.StatusPreconditionFailed, "X-Vault-Request header is missing")
	case v.sealed:
		refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
	case strings.HasPrefix(req.Path, "auth/") && strings.HasSuffix(req.Path, "/login"):
		v.logIn(w, req)
	case req.Token == "":
		refuse(w, http.StatusBadRequest, "missing client token")
	case v.token(req.Token) == nil:
		refuse(w, http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
	case strings.HasPrefix(req.Path, "auth/token/"):
		v.self(w, req)
	case req.Path == "sys/leases/renew" && req.Method == http.MethodPut:
		v.renew(w, req)
	case req.Method == http.MethodGet:
		v.read(w, r, req)
	default:
		refuse(w, http.StatusMethodNotAllowed)
	}
}

func refuse(w http.ResponseWriter, status int, errs ...string) {
	if errs == nil {
		errs = []string{}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": errs})
}

// reply writes the envelope that every answer of Vault has.
func (v *Vault) reply(w http.ResponseWriter, status int, fields map[string]any) {
	v.serial++
	out := map[string]any{
		"request_id": fmt.Sprintf("00000000-0000-4000-8000-%012d", v.serial), "lease_id": "", "renewable": false, "lease_duration": 0,
		"data": nil, "wrap_info": nil, "warnings": nil, "auth": nil,
	}
	for k, val := range fields {
		out[k] = val
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

func (v *Vault) logIn(w http.ResponseWriter, req Request) {
	mount := strings.TrimSuffix(strings.TrimPrefix(req.Path, "auth/"), "/login")
	var body struct {
		RoleID   string `json:"role_id"`
		SecretID string `json:"secret_id"`
		Role     string `json:"role"`
		JWT      string `json:"jwt"`
	}
	if json.Unmarshal([]byte(req.Body), &body) != nil {
		refuse(w, http.StatusBadRequest, "failed to parse JSON input")
		return
	}
	kubernetes := body.Role != ""
	role := v.roles[in(req.Namespace, mount+"/"+body.RoleID+body.Role)]
	given := body.SecretID + body.JWT
	switch {
	case role == nil && kubernetes:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("invalid role name %q", body.Role))
		return
	case role != nil && role.Secret != given && kubernetes:
		role.Refusals++
		refuse(w, http.StatusForbidden, "permission denied")
		return
	case role == nil || role.Secret != given:
		if role != nil {
			role.Refusals++
		}
		refuse(w, http.StatusBadRequest, "invalid role or secret ID")
		return
	}
	role.LogIns++
	v.serial++
	id := fmt.Sprintf("hvs.fake-%s-%06d", mount, v.serial)
	t := v.addToken(id, role.Token)
	v.reply(w, http.StatusOK, map[string]any{"auth": map[string]any{
		"client_token": id, "accessor": fmt.Sprintf("accessor-%d", v.serial), "policies": t.Policies, "token_policies": t.Policies, "metadata": map[string]string{"role_name": "fake"},
		"lease_duration": int(t.TTL / time.Second), "renewable": t.Renewable, "entity_id": "", "token_type": "service", "orphan": true, "mfa_requirement": nil, "num_uses": 0,
	}})
}

func (v *Vault) self(w http.ResponseWriter, req Request) {
	t := v.token(req.Token)
	left := 0
	if !t.ends.IsZero() {
		left = int(time.Until(t.ends).Round(time.Second) / time.Second)
	}
	switch what := strings.TrimPrefix(req.Path, "auth/token/"); {
	case t.NoSelf:
		refuse(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	case what == "lookup-self" && req.Method == http.MethodGet:
		v.reply(w, http.StatusOK, map[string]any{"data": map[string]any{
			"accessor": "accessor", "creation_time": t.made.Unix(), "creation_ttl": int(t.TTL / time.Second), "display_name": "fake", "entity_id": "", "expire_time": nil,
			"explicit_max_ttl": int(t.Max / time.Second), "id": req.Token, "meta": nil, "num_uses": 0, "orphan": true, "path": "auth/token/create", "policies": t.Policies,
			"renewable": t.Renewable, "ttl": left, "type": "service",
		}})
	case what == "renew-self" && req.Method == http.MethodPut:
		if !t.Renewable {
			refuse(w, http.StatusBadRequest, "lease is not renewable")
			return
		}
		t.Renewed++
		t.ends = extended(t.TTL, t.Max, t.made)
		v.reply(w, http.StatusOK, map[string]any{"auth": map[string]any{
			"client_token": req.Token, "accessor": "accessor", "policies": t.Policies, "token_policies": t.Policies, "metadata": nil,
			"lease_duration": int(time.Until(t.ends) / time.Second), "renewable": true, "entity_id": "", "token_type": "service", "orphan": true, "num_uses": 0,
		}})
	case what == "revoke-self" && req.Method == http.MethodPut:
		delete(v.tokens, req.Token)
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	}
}

// extended is the end of a loan that is extended now.
func extended(ttl, most time.Duration, made time.Time) time.Time {
	ends := time.Now().Add(ttl)
	if most > 0 && ends.After(made.Add(most)) {
		ends = made.Add(most)
	}
	return ends
}

func (v *Vault) renew(w http.ResponseWriter, req Request) {
	var body struct {
		LeaseID   string `json:"lease_id"`
		Increment int    `json:"increment"`
	}
	_ = json.Unmarshal([]byte(req.Body), &body)
	l := v.leases[body.LeaseID]
	switch {
	case l == nil || !time.Now().Before(l.ends):
		refuse(w, http.StatusBadRequest, "lease not found")
	case !l.Renewable || l.Refuse:
		refuse(w, http.StatusBadRequest, "lease is not renewable")
	default:
		l.Renewed++
		ttl := l.TTL
		if body.Increment > 0 {
			ttl = min(ttl, time.Duration(body.Increment)*time.Second)
		}
		l.ends = extended(ttl, l.Max, l.made)
		v.reply(w, http.StatusOK, map[string]any{"lease_id": body.LeaseID, "renewable": true, "lease_duration": int(time.Until(l.ends) / time.Second)})
	}
}

func (v *Vault) read(w http.ResponseWriter, r *http.Request, req Request) {
	mount, rest, _ := strings.Cut(req.Path, "/")
	engine := v.mounts[in(req.Namespace, mount)]
	allowed := slices.ContainsFunc(v.token(req.Token).Policies, func(p string) bool {
		return slices.ContainsFunc(v.policies[p], func(path string) bool {
			prefix, any := strings.CutSuffix(path, "*")
			return path == req.Path || any && strings.HasPrefix(req.Path, prefix)
		})
	})
	switch {
	case !allowed:
		refuse(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	case engine == "":
		refuse(w, http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", req.Path))
	case engine == "kv2":
		v.read2(w, r, req, mount, rest)
	case engine == "lend":
		v.lend(w, rest, req.Path)
	default:
		data := v.kv1[in(req.Namespace, req.Path)]
		if data == nil {
			refuse(w, http.StatusNotFound)
			return
		}
		v.reply(w, http.StatusOK, map[string]any{"data": data, "lease_duration": 2764800, "mount_type": "kv"})
	}
}

func (v *Vault) read2(w http.ResponseWriter, r *http.Request, req Request, mount, rest string) {
	path, ok := strings.CutPrefix(rest, "data/")
	if !ok {
		v.reply(w, http.StatusNotFound, map[string]any{"warnings": []string{
			"Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation.",
		}})
		return
	}
	all := v.kv2[in(req.Namespace, mount+"/"+path)]
	n := len(all)
	if q := r.URL.Query().Get("version"); q != "" && q != "0" {
		n, _ = strconv.Atoi(q)
	}
	if n < 1 || n > len(all) {
		refuse(w, http.StatusNotFound)
		return
	}
	got := all[n-1]
	meta := map[string]any{"created_time": "2026-01-02T03:04:05.678Z", "custom_metadata": nil, "deletion_time": "", "destroyed": got.destroyed, "version": n}
	if !got.deleted.IsZero() {
		meta["deletion_time"] = got.deleted.UTC().Format(time.RFC3339Nano)
		v.reply(w, http.StatusNotFound, map[string]any{"data": map[string]any{"data": nil, "metadata": meta}, "mount_type": "kv"})
		return
	}
	v.reply(w, http.StatusOK, map[string]any{"data": map[string]any{"data": got.data, "metadata": meta}, "mount_type": "kv"})
}

// lend makes values with a lease: creds/NAME, or creds/NAME-fixed for a lease that cannot be renewed. Its time to live is an hour, and a
// day at most.
func (v *Vault) lend(w http.ResponseWriter, rest, path string) {
	name, ok := strings.CutPrefix(rest, "creds/")
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	v.serial++
	l := &Lease{TTL: time.Hour, Max: 24 * time.Hour, Renewable: !strings.HasSuffix(name, "-fixed"), made: time.Now()}
	l.ends = l.made.Add(l.TTL)
	id := fmt.Sprintf("%s/lease-%06d", path, v.serial)
	v.leases[id] = l
	v.reply(w, http.StatusOK, map[string]any{
		"lease_id": id, "renewable": l.Renewable, "lease_duration": int(l.TTL / time.Second),
		"data": map[string]any{"username": fmt.Sprintf("v-fake-%d", v.serial), "password": fmt.Sprintf("lent-secret-%d", v.serial)}, "mount_type": "database",
	})
}
