// Package fakeaws is a fake of AWS Secrets Manager for tests: an HTTP handler that follows the published JSON protocol in the one call that
// adsync makes, GetSecretValue, and checks the signature (Signature Version 4) of every request by computing it anew from the request. It
// also answers as the Security Token Service for web identities, and as an instance's metadata.
//
// It imports nothing of adsync or of the SDK, so that it cannot be wrong in the same way.
package fakeaws

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Manager is the fake.
type Manager struct {
	Region string // that requests must be signed for

	mu       sync.Mutex
	keys     map[string]Key
	secrets  map[string]*Secret // by name
	identity string             // the token of a web identity that is believed
	script   []func(http.ResponseWriter, *http.Request) bool
	requests []Request
}

// Key is a pair of access keys.
type Key struct {
	Secret, Session string
	Expired         bool
	Denied          bool // it may read nothing
}

// Identity has the Security Token Service give a key for a web identity's token.
func (m *Manager) Identity(token string) {
	defer m.lock()()
	m.identity = token
}

// Secret is what is kept under a name.
type Secret struct {
	Stages  map[string]string // version ids by stage
	Values  map[string]string // by version id
	Binary  []byte            // in place of Values
	Deleted bool
}

// Request is what was asked.
type Request struct{ Target, SecretID, KeyID, Region string }

// Account is the fake's.
const Account = "123456789012"

// New makes a Secrets Manager with one pair of keys.
func New(region, keyID string, key Key) *Manager {
	return &Manager{Region: region, keys: map[string]Key{keyID: key}, secrets: map[string]*Secret{}}
}

// Serve starts the fake on loopback, for as long as the test runs.
func (m *Manager) Serve(t testing.TB) *httptest.Server {
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return s
}

func (m *Manager) lock() func() { m.mu.Lock(); return m.mu.Unlock }

// Key adds or changes a pair of keys.
func (m *Manager) Key(id string, k Key) {
	defer m.lock()()
	m.keys[id] = k
}

// Put stores a value as the current version of a secret; the one that was current becomes the previous one.
func (m *Manager) Put(name, value string) {
	defer m.lock()()
	s := m.secrets[name]
	if s == nil {
		s = &Secret{Stages: map[string]string{}, Values: map[string]string{}}
		m.secrets[name] = s
	}
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", len(s.Values)+1)
	if old := s.Stages["AWSCURRENT"]; old != "" {
		s.Stages["AWSPREVIOUS"] = old
	}
	s.Stages["AWSCURRENT"], s.Values[id] = id, value
}

// PutBinary stores bytes.
func (m *Manager) PutBinary(name string, b []byte) {
	defer m.lock()()
	m.secrets[name] = &Secret{Stages: map[string]string{"AWSCURRENT": "v"}, Values: map[string]string{"v": ""}, Binary: b}
}

// Delete marks a secret for deletion.
func (m *Manager) Delete(name string) {
	defer m.lock()()
	m.secrets[name].Deleted = true
}

// ARN is that of a secret.
func (m *Manager) ARN(name string) string {
	return "arn:aws:secretsmanager:" + m.Region + ":" + Account + ":secret:" + name + "-AbCdEf"
}

// Next answers the next requests in its own way, one each; a function that gives false leaves its request to the fake.
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

// Fail is an answer of the protocol's form for Next.
func Fail(status int, code, message string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		fail(w, status, code, message)
		return true
	}
}

// Requests are those so far.
func (m *Manager) Requests() []Request {
	defer m.lock()()
	return slices.Clone(m.requests)
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}

// ServeHTTP answers one request.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	w.Header().Set("X-Amzn-Requestid", "00000000-fake-0000-0000-000000000000")
	var in struct{ SecretId, VersionId, VersionStage string } //nolint:staticcheck // the protocol's own names
	_ = json.Unmarshal(body, &in)
	m.mu.Lock()
	var scripted func(http.ResponseWriter, *http.Request) bool
	if len(m.script) > 0 {
		scripted, m.script = m.script[0], m.script[1:]
	}
	id, region, _ := credential(r)
	m.requests = append(m.requests, Request{r.Header.Get("X-Amz-Target"), in.SecretId, id, region})
	m.mu.Unlock()
	if scripted != nil && scripted(w, r) {
		return
	}
	defer m.lock()()
	switch {
	case r.Header.Get("X-Amz-Target") == "" && r.Method == http.MethodPost:
		m.assume(w, body)
		return
	case strings.HasPrefix(r.URL.Path, "/latest/"):
		m.metadata(w, r)
		return
	}
	if code, message := m.check(r, body); code != "" {
		fail(w, http.StatusBadRequest, code, message)
		return
	}
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1":
		fail(w, http.StatusNotFound, "UnknownOperationException", "")
	case r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue":
		fail(w, http.StatusBadRequest, "UnknownOperationException", "")
	case m.keys[id].Denied:
		fail(w, http.StatusBadRequest, "AccessDeniedException", fmt.Sprintf("User: arn:aws:iam::%s:user/fake is not authorized to perform: secretsmanager:GetSecretValue on resource: %s because no identity-based policy allows the secretsmanager:GetSecretValue action", Account, in.SecretId))
	default:
		m.get(w, in.SecretId, in.VersionId, in.VersionStage)
	}
}

func (m *Manager) get(w http.ResponseWriter, id, version, stage string) {
	name := id
	if p := strings.SplitN(id, ":", 7); len(p) == 7 {
		name = p[6][:max(0, len(p[6])-7)]
	}
	s := m.secrets[name]
	if stage == "" && version == "" {
		stage = "AWSCURRENT"
	}
	switch {
	case s == nil:
		fail(w, http.StatusBadRequest, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
		return
	case s.Deleted:
		fail(w, http.StatusBadRequest, "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
		return
	}
	if version == "" {
		version = s.Stages[stage]
	}
	value, ok := s.Values[version]
	if !ok {
		fail(w, http.StatusBadRequest, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: "+stage)
		return
	}
	out := map[string]any{"ARN": m.ARN(name), "CreatedDate": 1767323045.678, "Name": name, "VersionId": version, "VersionStages": []string{"AWSCURRENT"}}
	if s.Binary != nil {
		out["SecretBinary"] = base64.StdEncoding.EncodeToString(s.Binary)
	} else {
		out["SecretString"] = value
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

// credential reads the scope of the Authorization header.
func credential(r *http.Request) (id, region string, rest map[string]string) {
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "", "", nil
	}
	rest = map[string]string{}
	for f := range strings.SplitSeq(fields, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
		rest[k] = v
	}
	p := strings.Split(rest["Credential"], "/")
	if len(p) != 5 || p[3] != "secretsmanager" || p[4] != "aws4_request" {
		return "", "", rest
	}
	return p[0], p[2], rest
}

// check computes the signature anew. It gives the code and the words of a refusal, or nothing.
func (m *Manager) check(r *http.Request, body []byte) (code, message string) {
	id, region, auth := credential(r)
	if auth == nil {
		return "MissingAuthenticationTokenException", "Missing Authentication Token"
	}
	key, known := m.keys[id]
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	scope := strings.TrimPrefix(auth["Credential"], id+"/")
	switch {
	case !known:
		return "UnrecognizedClientException", "The security token included in the request is invalid."
	case key.Expired:
		return "ExpiredTokenException", "The security token included in the request is expired"
	case key.Session != r.Header.Get("X-Amz-Security-Token"):
		return "UnrecognizedClientException", "The security token included in the request is invalid."
	case err != nil || time.Since(at).Abs() > 15*time.Minute || !strings.HasPrefix(scope, at.Format("20060102")+"/"):
		return "InvalidSignatureException", "Signature expired"
	case region != m.Region:
		return "InvalidSignatureException", "Credential should be scoped to a valid region."
	}
	signed := strings.Split(auth["SignedHeaders"], ";")
	must := []string{"host", "x-amz-date", "x-amz-target"}
	if key.Session != "" {
		must = append(must, "x-amz-security-token")
	}
	for _, h := range must {
		if !slices.Contains(signed, h) {
			return "InvalidSignatureException", "'" + h + "' must be a signed header"
		}
	}
	var headers strings.Builder
	for _, h := range signed {
		v := strings.Join(r.Header.Values(h), ",")
		switch h {
		case "host":
			v = r.Host
		case "content-length":
			v = fmt.Sprint(r.ContentLength)
		}
		headers.WriteString(h + ":" + strings.Join(strings.Fields(v), " ") + "\n")
	}
	canonical := strings.Join([]string{r.Method, (&url.URL{Path: r.URL.Path}).EscapedPath(), r.URL.Query().Encode(), headers.String(), auth["SignedHeaders"], sum(body)}, "\n")
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + sum([]byte(canonical))
	k := []byte("AWS4" + key.Secret)
	for part := range strings.SplitSeq(scope, "/") {
		k = mac(k, part)
	}
	if hex.EncodeToString(mac(k, text)) != auth["Signature"] {
		return "InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	}
	return "", ""
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = io.WriteString(h, text)
	return h.Sum(nil)
}

// lent makes a key that the fake believes.
func (m *Manager) lent() (id string, k Key) {
	id = fmt.Sprintf("ASIAFAKE%08d", len(m.keys))
	k = Key{Secret: "lent-secret-key-" + id, Session: "lent-session-token-" + id}
	m.keys[id] = k
	return id, k
}

// assume answers AssumeRoleWithWebIdentity of the Security Token Service.
func (m *Manager) assume(w http.ResponseWriter, body []byte) {
	q, _ := url.ParseQuery(string(body))
	w.Header().Set("Content-Type", "text/xml")
	if q.Get("Action") != "AssumeRoleWithWebIdentity" || m.identity == "" || q.Get("WebIdentityToken") != m.identity {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>The token %s is not valid</Message></Error><RequestId>fake</RequestId></ErrorResponse>`, q.Get("WebIdentityToken"))
		return
	}
	id, k := m.lent()
	_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<SubjectFromWebIdentityToken>fake</SubjectFromWebIdentityToken><Audience>sts.amazonaws.com</Audience>
<AssumedRoleUser><Arn>arn:aws:sts::%s:assumed-role/fake/adsync</Arn><AssumedRoleId>AROAFAKE:adsync</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>fake</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>`,
		Account, id, k.Secret, k.Session, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

// metadata answers as an instance's metadata service, version 2.
func (m *Manager) metadata(w http.ResponseWriter, r *http.Request) {
	const token, roles = "fake-metadata-token", "/latest/meta-data/iam/security-credentials/"
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		_, _ = io.WriteString(w, token)
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != token:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == roles:
		_, _ = io.WriteString(w, "fake-role")
	case r.URL.Path == roles+"fake-role":
		id, k := m.lent()
		_ = json.NewEncoder(w).Encode(map[string]string{
			"Code": "Success", "LastUpdated": time.Now().UTC().Format(time.RFC3339), "Type": "AWS-HMAC", "AccessKeyId": id, "SecretAccessKey": k.Secret, "Token": k.Session,
			"Expiration": time.Now().Add(6 * time.Hour).UTC().Format(time.RFC3339),
		})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}
