// Package fakegoogle is a fake of Google Secret Manager for tests: an HTTP handler that follows the published REST protocol in the one call
// that adsync makes, and answers at /token as the service does that gives tokens for service accounts: it checks the signature of the
// assertion.
//
// It imports nothing of adsync or of Google's clients, so that it cannot be wrong in the same way.
package fakegoogle

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Manager is the fake.
type Manager struct {
	mu       sync.Mutex
	key      *rsa.PrivateKey
	account  string
	secrets  map[string][]*Version // by projects/P/secrets/S
	denied   map[string]bool
	tokens   map[string]bool
	refuse   bool // tokens
	damage   bool // payloads
	serial   int
	script   []func(http.ResponseWriter, *http.Request) bool
	requests []Request
}

// Version is one of a secret.
type Version struct {
	Data  []byte
	State string // "ENABLED", "DISABLED", "DESTROYED"
}

// Request is what was asked.
type Request struct{ Method, Path, Token string }

// New makes a Secret Manager and a service account.
func New(t testing.TB) *Manager {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &Manager{key: key, account: "adsync@fake-project.iam.gserviceaccount.com", secrets: map[string][]*Version{}, denied: map[string]bool{}, tokens: map[string]bool{}}
}

// Serve starts the fake on loopback, for as long as the test runs.
func (m *Manager) Serve(t testing.TB) *httptest.Server {
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return s
}

func (m *Manager) lock() func() { m.mu.Lock(); return m.mu.Unlock }

// KeyFile is a service account's key as Google issues it, with the tokens to be had from the server at base.
func (m *Manager) KeyFile(base string) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(m.key)
	if err != nil {
		panic(err) // a key that was just made
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "fake-project", "private_key_id": "fake-key", "client_email": m.account, "client_id": "1234567890",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"auth_uri":    base + "/auth", "token_uri": base + "/token",
	})
	if err != nil {
		panic(err) // strings
	}
	return b
}

// Put adds a version to a secret of a project, or of projects/P/locations/L.
func (m *Manager) Put(parent, name string, data []byte) {
	defer m.lock()()
	k := parent + "/secrets/" + name
	m.secrets[k] = append(m.secrets[k], &Version{Data: data, State: "ENABLED"})
}

// State changes the newest version's.
func (m *Manager) State(parent, name, state string) {
	defer m.lock()()
	all := m.secrets[parent+"/secrets/"+name]
	all[len(all)-1].State = state
}

// Deny takes the right to read a secret away.
func (m *Manager) Deny(parent, name string) {
	defer m.lock()()
	m.denied[parent+"/secrets/"+name] = true
}

// RefuseTokens has no token given out, and those that were taken back.
func (m *Manager) RefuseTokens(refuse bool) {
	defer m.lock()()
	m.refuse = refuse
	if refuse {
		clear(m.tokens)
	}
}

// Damage has payloads changed on their way, so that they do not match their checksum.
func (m *Manager) Damage(damage bool) {
	defer m.lock()()
	m.damage = damage
}

// Next answers the next requests for secrets in its own way, one each; a function that gives false leaves its request to the fake.
func (m *Manager) Next(answers ...func(http.ResponseWriter, *http.Request) bool) {
	defer m.lock()()
	m.script = append(m.script, answers...)
}

// Forget takes back what Next was told and was not used.
func (m *Manager) Forget() {
	defer m.lock()()
	m.script = nil
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
func (m *Manager) Requests() []Request {
	defer m.lock()()
	return slices.Clone(m.requests)
}

// Count is how many requests there were whose path holds part.
func (m *Manager) Count(part string) int {
	n := 0
	for _, r := range m.Requests() {
		if strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// ServeHTTP answers one request.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	m.mu.Lock()
	m.requests = append(m.requests, Request{r.Method, r.URL.Path, token})
	var scripted func(http.ResponseWriter, *http.Request) bool
	if len(m.script) > 0 && r.URL.Path != "/token" {
		scripted, m.script = m.script[0], m.script[1:]
	}
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if scripted != nil && scripted(w, r) {
		return
	}
	defer m.lock()()
	switch {
	case r.URL.Path == "/token" && r.Method == http.MethodPost:
		m.token(w, r)
	case !m.tokens[token]:
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/"`)
		fail(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.")
	default:
		m.access(w, r)
	}
}

func fail(w http.ResponseWriter, code int, status, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "status": status}})
}

// token gives a token for an assertion that the account's key signed.
func (m *Manager) token(w http.ResponseWriter, r *http.Request) {
	wrong := func(why string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": why})
	}
	if r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || m.refuse {
		wrong("Invalid JWT Signature.")
		return
	}
	head, signature, _ := cutLast(r.PostFormValue("assertion"), ".")
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	digest := sha256.Sum256([]byte(head))
	if err != nil || rsa.VerifyPKCS1v15(&m.key.PublicKey, crypto.SHA256, digest[:], sig) != nil {
		wrong("Invalid JWT Signature.")
		return
	}
	_, payload, _ := strings.Cut(head, ".")
	b, _ := base64.RawURLEncoding.DecodeString(payload)
	var claims struct{ Iss, Scope, Aud string }
	if json.Unmarshal(b, &claims) != nil || claims.Iss != m.account || !strings.Contains(claims.Scope, "cloud-platform") || !strings.HasSuffix(claims.Aud, "/token") {
		wrong("Invalid JWT.")
		return
	}
	m.serial++
	token := fmt.Sprintf("ya29.fake-access-token-%06d", m.serial)
	m.tokens[token] = true
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (m *Manager) access(w http.ResponseWriter, r *http.Request) {
	resource, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v1/"), ":access")
	secret, version, has := cutLast(resource, "/versions/")
	if !ok || !has || r.Method != http.MethodGet {
		fail(w, http.StatusNotFound, "NOT_FOUND", "Method not found.")
		return
	}
	all := m.secrets[secret]
	n := len(all)
	if version != "latest" {
		n, _ = strconv.Atoi(version)
	}
	switch {
	case m.denied[secret]:
		fail(w, http.StatusForbidden, "PERMISSION_DENIED", fmt.Sprintf("Permission 'secretmanager.versions.access' denied for resource '%s' (or it may not exist).", resource))
		return
	case all == nil:
		fail(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("Secret [%s] not found or has no versions.", secret))
		return
	case n < 1 || n > len(all):
		fail(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("Secret Version [%s] not found.", resource))
		return
	case all[n-1].State != "ENABLED":
		fail(w, http.StatusBadRequest, "FAILED_PRECONDITION", fmt.Sprintf("Secret Version [%s] is in %s state.", resource, all[n-1].State))
		return
	}
	data := all[n-1].Data
	check := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	if m.damage {
		data = append([]byte("x"), data...)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"name":    fmt.Sprintf("%s/versions/%d", secret, n),
		"payload": map[string]any{"data": base64.StdEncoding.EncodeToString(data), "dataCrc32c": strconv.FormatUint(uint64(check), 10)},
	})
}
