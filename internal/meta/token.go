package meta

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// RefreshRequest implements platform.Refresher: a token that still is good is exchanged for one that lives longer. One that has ended cannot be.
func (p *Platform) RefreshRequest(current platform.Token) platform.Request {
	if !p.o.Renew || !p.o.AppSecret || p.o.AppID == "" || current.Value == "" {
		return platform.Request{}
	}
	return platform.Request{
		Endpoint: endpointToken, Method: http.MethodGet, Path: p.path("oauth", "access_token"), Header: http.Header{"Accept": {"application/json"}},
		NoAuth: true, Uncounted: true, Repeatable: true, Critical: true,
		Seal: func(s platform.Secrets, r *platform.Request) {
			r.Query = url.Values{
				"grant_type": {"fb_exchange_token"}, "client_id": {p.o.AppID}, "client_secret": {s.Credential(CredentialAppSecret)}, "fb_exchange_token": {current.Value},
			}.Encode()
		},
	}
}

// ParseToken implements platform.Refresher.
func (p *Platform) ParseToken(r platform.Reply) (platform.Token, error) { return ParseToken(r) }

// ParseToken reads {"access_token", "expires_in"}; a token without an end says nothing of it, or 0.
func ParseToken(r platform.Reply) (platform.Token, error) {
	var t struct {
		Value string          `json:"access_token"`
		Life  json.RawMessage `json:"expires_in"`
	}
	if err := json.Unmarshal(r.Body, &t); err != nil || t.Value == "" {
		return platform.Token{}, badReply(endpointToken, "no_token", "the answer holds no access_token")
	}
	var life time.Duration
	if n, err := ads.ParseInt(string(trimQuotes(t.Life))); err == nil && n > 0 {
		life = time.Duration(min(n, int64(100*365*24*3600))) * time.Second
	}
	return platform.Token{Value: t.Value, Life: life}, nil
}

func trimQuotes(b []byte) []byte {
	if len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		return b[1 : len(b)-1]
	}
	return b
}
