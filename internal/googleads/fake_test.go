package googleads

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// made is a connector for tests.
func made(t testing.TB, o Options) *Platform {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// secrets are a connection's.
type secrets map[string]string

func (s secrets) Credential(name string) string { return s[name] }
func (s secrets) Token() string                 { return "token-1" }

// asking is a request as a test's platform sees it.
type asking struct {
	platform.Request
	query, pageToken, customer, root string
}

// caller answers requests as the client would: each answer is classified, and a good one is parsed.
type caller struct {
	p      *Platform
	answer func(asking) platform.Reply
	mu     sync.Mutex
	asked  []asking
}

func (c *caller) Do(ctx context.Context, r platform.Request) (platform.Reply, error) {
	if ctx.Err() != nil {
		return platform.Reply{}, context.Cause(ctx)
	}
	if r.Seal != nil {
		r.Header = r.Header.Clone()
		r.Seal(secrets{}, &r)
	}
	a := asking{Request: r, root: r.Header.Get("Login-Customer-Id")}
	var in struct{ Query, PageToken string }
	if r.Body != nil {
		if err := json.Unmarshal(r.Body, &in); err != nil {
			return platform.Reply{}, err
		}
		a.query, a.pageToken = in.Query, in.PageToken
		a.customer = strings.Split(r.Path, "/")[3]
	}
	c.mu.Lock()
	c.asked = append(c.asked, a)
	c.mu.Unlock()
	reply := c.answer(a)
	reply.Endpoint = r.Endpoint
	if reply.Status == 0 {
		reply.Status = http.StatusOK
	}
	if reply.Header == nil {
		reply.Header = http.Header{"Content-Type": {"application/json; charset=UTF-8"}}
	}
	v := c.p.Classify(reply)
	if v.Class != ads.ClassOK {
		return platform.Reply{}, &ads.Error{Class: v.Class, Code: v.Code, Message: v.Message, Hint: v.Hint, Endpoint: r.Endpoint, Status: reply.Status, RequestID: v.RequestID}
	}
	if r.Parse != nil {
		if err := r.Parse(reply); err != nil {
			return platform.Reply{}, err
		}
	}
	return reply, nil
}

func text(status int, body string) platform.Reply {
	return platform.Reply{Status: status, Body: []byte(body)}
}

// refusal is an error as the API gives it.
func refusal(status int, family, value string) platform.Reply {
	return text(status, `{"error":{"code":0,"message":"m","status":"S","details":[{"@type":"type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure","errors":[{"errorCode":{"`+family+`":"`+value+`"},"message":"Said."}],"requestId":"req-1"}]}}`)
}
