package adplatform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

func reply(endpoint string, status int, body string, header ...string) platform.Reply {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return platform.Reply{Endpoint: endpoint, Status: status, Header: h, Body: []byte(body)}
}

func TestClassify(t *testing.T) {
	p := New(Options{Account: "acme", PageSize: 10, PerCampaignSync: true})
	const sec = time.Second
	for _, tt := range []struct {
		name  string
		r     platform.Reply
		class ads.Class
		wait  time.Duration // -1: none
	}{
		{"a page", reply(endpointList, 200, `{"data":[],"pagination":{}}`), ads.ClassOK, -1},
		{"wrong credentials", reply(endpointToken, 401, `{"error":"Unauthorized","message":"Invalid credentials"}`), ads.ClassAuth, -1},
		{"token endpoint forbids", reply(endpointToken, 403, ``), ads.ClassAuth, -1},
		{"token endpoint down", reply(endpointToken, 503, ``), ads.ClassTransient, -1},
		{"expired", reply(endpointList, 401, `{"error":"Token expired","message":"x","expired_at":"2024-01-01T00:00:00Z"}`), ads.ClassTokenDead, -1},
		{"401 without JSON", reply(endpointSync, 401, `<html>`), ads.ClassTokenDead, -1},
		{"no right", reply(endpointSync, 403, `{"error":"Forbidden"}`), ads.ClassDenied, -1},
		{"429 with a body", reply(endpointList, 429, `{"error":"Rate limit exceeded","message":"m","retry_after":60}`), ads.ClassThrottled, 60 * sec},
		{"429 with a text", reply(endpointList, 429, `{"retry_after":"12"}`), ads.ClassThrottled, 12 * sec},
		{"429 with a fraction", reply(endpointList, 429, `{"retry_after":1.2}`), ads.ClassThrottled, 2 * sec},
		{"429 with nonsense", reply(endpointList, 429, `{"retry_after":"soon"}`), ads.ClassThrottled, -1},
		{"429 below zero", reply(endpointList, 429, `{"retry_after":-5}`), ads.ClassThrottled, 0},
		{"429 past int64", reply(endpointList, 429, `{"retry_after":1e30}`), ads.ClassThrottled, (1 << 33) * sec},
		{"429 that says nothing", reply(endpointList, 429, ``), ads.ClassThrottled, -1},
		{"fault 28: throttled as 403", reply(endpointList, 403, `{}`, "Retry-After", "3"), ads.ClassThrottled, -1},
		{"fault 29: throttled as 200", reply(endpointList, 200, `{"error":"Rate limit exceeded","retry_after":7}`), ads.ClassThrottled, 7 * sec},
		{"fault 29: on a sync", reply(endpointSync, 200, `{"error":"Rate limit exceeded","retry_after":7}`), ads.ClassThrottled, 7 * sec},
		{"an error in a 200", reply(endpointList, 200, `{"error":"boom"}`), ads.ClassBadReply, -1},
		{"503", reply(endpointList, 503, `{"error":"Service temporarily unavailable"}`), ads.ClassTransient, -1},
		{"fault 56: 502 as HTML", reply(endpointList, 502, `<html>`, "Content-Type", "text/html"), ads.ClassTransient, -1},
		{"fault 83: cursor gone", reply(endpointList, 410, ``), ads.ClassStaleCursor, -1},
		{"fault 86: page size refused", reply(endpointList, 400, `{"error":"limit"}`), ads.ClassPermanent, -1},
		{"fault 92: campaign gone", reply(endpointSync, 404, ``), ads.ClassPermanent, -1},
		{"wrong address", reply(endpointList, 404, ``), ads.ClassPermanent, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := p.Classify(tt.r)
			if v.Class != tt.class {
				t.Errorf("class %q, want %q (%s)", v.Class, tt.class, v.Message)
			}
			if wait := v.Wait; (tt.wait < 0) == wait.Set || (wait.Set && wait.Value != tt.wait) {
				t.Errorf("wait %+v, want %v", wait, tt.wait)
			}
			if refused := tt.class == ads.ClassThrottled || tt.class == ads.ClassTokenDead; refused != v.NotCounted {
				t.Errorf("not counted = %v", v.NotCounted)
			}
		})
	}
}

func TestClassifyWords(t *testing.T) {
	p := New(Options{Account: "acme", PageSize: 500})
	v := p.Classify(reply(endpointList, 400, "{\"error\":\"limit\",\"message\":\"too \\u001b[31mlarge\"}", "X-Request-Id", "req-1"))
	if v.Message != "400 Bad Request, the platform says: limit: too  [31mlarge" || v.RequestID != "req-1" || !strings.Contains(v.Hint, "page_size") {
		t.Errorf("%+v", v)
	}
	v = p.Classify(reply(endpointList, 502, "<html>secret stuff</html>", "Content-Type", "text/html; charset=utf-8"))
	if v.Message != "502 Bad Gateway (text/html, 25 bytes)" {
		t.Errorf("%q", v.Message)
	}
}

const frame = `{"data": [%s], "pagination": {"page": 1, "limit": 10, "total": 1, "has_more": false}}`

func TestParsePage(t *testing.T) {
	const one = `{"id":"campaign_1","name":"Campaign 1","status":"active","budget":1100,"impressions":8432,"clicks":234,"conversions":12,"created_at":"2024-12-11T10:30:00.000Z"}`
	p, err := parsePage(reply(endpointList, 200, fmt.Sprintf(frame, " "+one+" ")), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := page{
		records: []ads.Record{{Entity: ads.Entity{
			ID: "campaign_1", Name: "Campaign 1", Status: ads.StatusActive, PlatformStatus: "active", Budget: ads.Some(ads.Micros(1_100_000_000)),
			Impressions: ads.Some[int64](8432), Clicks: ads.Some[int64](234), Conversions: ads.Some(ads.Decimal{Coef: 12}),
			CreatedAt: ads.Some(time.Date(2024, 12, 11, 10, 30, 0, 0, time.UTC)), Raw: []byte(one),
		}}},
		number: ads.Some[int64](1), limit: ads.Some[int64](10), total: ads.Some[int64](1), more: ads.Some(false),
	}
	if d := cmp.Diff(want, p, cmp.AllowUnexported(page{})); d != "" {
		t.Error(d)
	}
}

// Faults 59 to 61 and 81: what is no page is never an empty page.
func TestParsePageRefuses(t *testing.T) {
	deep := strings.Repeat("[", 200_000)
	for _, body := range []string{
		``, ` `, `null`, `[]`, `{"pagination":{"total":0,"has_more":false}}`, `[{"id":"a"}]`, `{}`, `{"data":null,"pagination":{"has_more":false}}`, `{"data":[]}`, `{"data":[],"pagination":null}`,
		`{"data":[],"pagination":{}}`, `{"data":{},"pagination":{"total":0}}`, `{"data":[],"pagination":{"has_more":false}`, `{"data":[{"id":"a"}`,
		`{"data":[],"pagination":{"has_more":false}} {"data":[]}`, `{"data":[],"data":[{"id":"evil"}],"pagination":{"total":0}}`,
		`{"data":` + deep, `{"x":` + deep + `,"data":[],"pagination":{"total":0}}`, `<html>login</html>`, `{"data":[],"pagination":{"has_more":"perhaps"}}`,
	} {
		_, err := parsePage(reply(endpointList, 200, body), 3)
		if ads.ClassOf(err) != ads.ClassBadReply {
			t.Errorf("%.60q: %v", body, err)
		} else if !strings.Contains(err.Error(), "page 3") {
			t.Errorf("%.60q: %v does not name the page", body, err)
		}
	}
	_, err := parsePage(reply(endpointList, 200, "<html>", "Content-Type", "text/html"), 1)
	if want := "list campaigns: page 1: the answer is not JSON (text/html, 6 bytes)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestPaginationIsReadLoosely(t *testing.T) {
	for _, tt := range []struct {
		in    string
		more  ads.Opt[bool]
		total ads.Opt[int64]
	}{
		{`{"has_more":"true","total":"100"}`, ads.Some(true), ads.Some[int64](100)},
		{`{"has_more":"false","total":100.0}`, ads.Some(false), ads.Some[int64](100)},
		{`{"has_more":1,"total":null}`, ads.Some(true), ads.Opt[int64]{}},
		{`{"total":5}`, ads.Opt[bool]{}, ads.Some[int64](5)},
		{`{"has_more":false,"total":-1}`, ads.Some(false), ads.Opt[int64]{}},
		{`{"has_more":false,"total":1e400}`, ads.Some(false), ads.Opt[int64]{}},
	} {
		p, err := parsePage(reply(endpointList, 200, `{"pagination":`+tt.in+`,"data":[]}`), 1)
		if err != nil || p.more != tt.more || p.total != tt.total {
			t.Errorf("%s: more %+v, total %+v, %v", tt.in, p.more, p.total, err)
		}
	}
}

func TestDecodeRecord(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		code     string // of the problem; "": none
		check    func(ads.Entity) bool
	}{
		{"numbers as texts", `{"id":"a","budget":"12.5","clicks":"7"}`, "", func(e ads.Entity) bool { return e.Budget.Value == 12_500_000 && e.Clicks.Value == 7 }},
		{"12.0 is whole", `{"id":"a","clicks":12.0}`, "", func(e ads.Entity) bool { return e.Clicks.Value == 12 }},
		{"null is absent", `{"id":"a","clicks":null,"budget":null,"name":null}`, "", func(e ads.Entity) bool { return !e.Clicks.Set && !e.Budget.Set }},
		{"fault 64: 1.5 clicks", `{"id":"a","clicks":1.5}`, "bad_value", nil},
		{"fractional conversions", `{"id":"a","conversions":0.75}`, "", func(e ads.Entity) bool { return e.Conversions.Value.String() == "0.75" }},
		{"fault 65: 2^53+1", `{"id":"a","impressions":9007199254740993}`, "", func(e ads.Entity) bool { return e.Impressions.Value == 9007199254740993 }},
		{"fault 65: 2^63", `{"id":"a","impressions":9223372036854775808}`, "bad_value", nil},
		{"fault 65: 1e400", `{"id":"a","budget":1e400}`, "bad_value", nil},
		{"fault 66: 0.1 and 0.2", `{"id":"a","budget":0.30}`, "", func(e ads.Entity) bool { return e.Budget.Value == 300_000 }},
		{"a number as id", `{"id":9007199254740993}`, "", func(e ads.Entity) bool { return e.ID == "9007199254740993" }},
		{"fault 67: no id", `{"name":"x"}`, "no_id", nil},
		{"fault 67: null", `{"id":null}`, "no_id", nil},
		{"fault 67: empty", `{"id":""}`, "no_id", nil},
		{"fault 67: object", `{"id":{}}`, "no_id", nil},
		{"fault 67: boolean", `{"id":true}`, "no_id", nil},
		{"fault 67: fraction", `{"id":1.5}`, "no_id", nil},
		{"fault 67: null item", `null`, "not_object", nil},
		{"fault 67: text item", `"x"`, "not_object", nil},
		{"fault 68: long id", `{"id":"` + strings.Repeat("x", 10_000) + `"}`, "no_id", nil},
		{"fault 68: NUL in the id", `{"id":"a\u0000b"}`, "no_id", nil},
		{"fault 62: id twice", `{"id":"a","id":"evil"}`, "duplicate_key", nil},
		{"fault 63: other case", `{"ID":"evil","id":"a","Id":"evil"}`, "", func(e ads.Entity) bool { return e.ID == "a" }},
		{"fault 63: only other case", `{"ID":"evil"}`, "no_id", nil},
		{"fault 71: invalid UTF-8", "{\"id\":\"a\",\"name\":\"\xff\"}", "bad_json", nil},
		{"fault 70: NUL in the name", `{"id":"a","name":"x\u0000y"}`, "", func(e ads.Entity) bool { return e.Name == "x\uFFFDy" }},
		{"fault 73: unknown status", `{"id":"a","status":"warming","x":[1,{"y":2}]}`, "", func(e ads.Entity) bool {
			return e.Status == ads.StatusUnknown && e.PlatformStatus == "warming" && strings.Contains(string(e.Raw), `{"y":2}`)
		}},
		{"name of another kind", `{"id":"a","name":7}`, "bad_value", nil},
		{"fault 72: epoch", `{"id":"a","created_at":1702412345}`, "", func(e ads.Entity) bool { return !e.CreatedAt.Set }},
		{"fault 72: zeros", `{"id":"a","created_at":"0000-00-00"}`, "", func(e ads.Entity) bool { return !e.CreatedAt.Set }},
		{"fault 72: year 10000", `{"id":"a","created_at":"10000-01-01T00:00:00Z"}`, "", func(e ads.Entity) bool { return !e.CreatedAt.Set }},
		{"fault 72: no zone", `{"id":"a","created_at":"2024-12-11T10:30:00"}`, "", func(e ads.Entity) bool { return e.CreatedAt.Value.Format(time.RFC3339) == "2024-12-11T10:30:00Z" }},
		{"a zone", `{"id":"a","created_at":"2024-12-11T10:30:00+02:00"}`, "", func(e ads.Entity) bool { return e.CreatedAt.Value.Format(time.RFC3339) == "2024-12-11T08:30:00Z" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := decodeRecord([]byte(tt.in), 3, 7)
			switch {
			case tt.code == "" && r.Problem != nil:
				t.Fatalf("problem %+v", r.Problem)
			case tt.code != "" && r.Problem == nil:
				t.Fatalf("no problem, but %+v", r.Entity)
			case tt.code != "" && r.Problem.Code != tt.code:
				t.Fatalf("code %q, want %q", r.Problem.Code, tt.code)
			case tt.code != "":
				if id := r.Problem.EntityID; id != "a" && id != "page 3, position 7" {
					t.Errorf("entity %q", id)
				}
			case !tt.check(r.Entity):
				t.Errorf("%+v", r.Entity)
			}
		})
	}
}

func TestParseSync(t *testing.T) {
	for _, tt := range []struct {
		body  string
		class ads.Class
	}{
		{`{"success":true,"campaign_id":"a","synced_at":"x","message":"ok"}`, ads.ClassOK},
		{`{"success":true}`, ads.ClassOK},
		{`{"success":false,"message":"no"}`, ads.ClassPermanent},
		{`{"success":true,"campaign_id":"b"}`, ads.ClassPermanent},
		{`{"campaign_id":"a"}`, ads.ClassBadReply},
		{`{"success":true`, ads.ClassBadReply},
		{`{"success":true,"success":false}`, ads.ClassBadReply},
		{``, ads.ClassBadReply},
		{`<html>`, ads.ClassBadReply},
	} {
		if err := parseSync(reply(endpointSync, 200, tt.body), "a"); ads.ClassOf(err) != tt.class {
			t.Errorf("%s: %v, want class %q", tt.body, err, tt.class)
		}
	}
}

func TestParseToken(t *testing.T) {
	p := New(Options{})
	for _, tt := range []struct {
		body string
		life time.Duration
		ok   bool
	}{
		{`{"access_token":"t","token_type":"Bearer","expires_in":3600,"issued_at":1}`, time.Hour, true},
		{`{"access_token":"t","token_type":"bearer","expires_in":"60"}`, time.Minute, true},
		{`{"access_token":"t"}`, 0, true},
		{`{"access_token":"t","expires_in":0}`, 0, true},
		{`{"access_token":"t","expires_in":-5}`, 0, true},
		{`{"access_token":"t","expires_in":1000000000000000000}`, 100 * 365 * 24 * time.Hour, true},
		{`{"access_token":"t","expires_in":1e400}`, 100 * 365 * 24 * time.Hour, true},
		{`{"access_token":"t","token_type":"MAC"}`, 0, false},
		{`{"access_token":5}`, 0, false},
		{`{}`, 0, false},
		{`<html>`, 0, false},
	} {
		tok, err := p.ParseToken(reply(endpointToken, 200, tt.body))
		if (err == nil) != tt.ok || tok.Life != tt.life {
			t.Errorf("%s: life %v, %v", tt.body, tok.Life, err)
		}
	}
}

// caller answers one request from a table, as the client would: Classify, then Parse.
type caller struct {
	got  []platform.Request
	body string
}

func (c *caller) Do(_ context.Context, r platform.Request) (platform.Reply, error) {
	c.got = append(c.got, r)
	rep := reply(r.Endpoint, 200, c.body)
	if r.Parse != nil {
		if err := r.Parse(rep); err != nil {
			return rep, err
		}
	}
	return rep, nil
}

func TestStep(t *testing.T) {
	p := New(Options{Account: "acme", XClientID: "acme", PageSize: 10})
	c := &caller{body: `{"data":[{"id":"a"},{"x":1}],"pagination":{"page":2,"limit":5,"total":7,"has_more":true}}`}
	var got []ads.Record
	emit := func(r ads.Record) error { got = append(got, r); return nil }
	next, err := p.Step(t.Context(), c, platform.Task{}, emit)
	if err != nil || len(got) != 2 || got[0].ID != "a" || got[1].Problem == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	if c.got[0].Query != "page=1&limit=10" || c.got[0].Header.Get("X-Client-ID") != "acme" {
		t.Errorf("%+v", c.got[0])
	}
	if !next.Echo.Set || next.Echo.Value.Got != "page 2" || len(next.Findings) != 1 || next.Total.Value != 7 || !next.More.Value {
		t.Errorf("%+v", next)
	}
	if _, err := p.Step(t.Context(), c, platform.Task{Cursor: next.Cursor}, emit); err != nil || c.got[1].Query != "page=2&limit=10" {
		t.Errorf("%+v, %v", c.got[1], err)
	}
	_, err = New(Options{PageSize: 50}).Step(t.Context(), c, platform.Task{Cursor: next.Cursor}, emit)
	if ads.ClassOf(err) != ads.ClassStaleCursor {
		t.Errorf("a cursor of another page size: %v", err)
	}
	stop := errors.New("stop")
	if _, err := p.Step(t.Context(), c, platform.Task{}, func(ads.Record) error { return stop }); err != stop {
		t.Errorf("emit's error came back as %v", err)
	}
}

// Fault 69: an id stays one segment of the path.
func TestFollowEncodesIDs(t *testing.T) {
	p := New(Options{Account: "acme", PerCampaignSync: true})
	c := &caller{body: `{"success":true}`}
	for id, want := range map[string]string{
		"campaign_1": "/api/campaigns/campaign_1/sync", "a/b": "/api/campaigns/a%2Fb/sync", "..": "/api/campaigns/%2E%2E/sync",
		"a?b#c": "/api/campaigns/a%3Fb%23c/sync", "%2f": "/api/campaigns/%252f/sync", "x' OR 1=1": "/api/campaigns/x%27%20OR%201=1/sync", "é": "/api/campaigns/%C3%A9/sync",
	} {
		c.got = nil
		if err := p.Follow(t.Context(), c, platform.Task{RunID: "r"}, id); err != nil {
			t.Fatal(err)
		}
		if c.got[0].Path != want {
			t.Errorf("%q: path %s, want %s", id, c.got[0].Path, want)
		}
		if !c.got[0].Repeatable || c.got[0].Header.Get("Idempotency-Key") == "" {
			t.Errorf("%q: %+v", id, c.got[0])
		}
	}
	key := func(run, id string) string {
		c.got = nil
		_ = p.Follow(t.Context(), c, platform.Task{RunID: run}, id)
		return c.got[0].Header.Get("Idempotency-Key")
	}
	again := key("r1", "a")
	if key("r1", "a") != again || key("r1", "a") == key("r2", "a") || key("r1", "a") == key("r1", "b") {
		t.Error("the idempotency key must be the same for one campaign and run, and only for them")
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(frame, `{"id":"a","name":"\ud83c\udfaf","budget":1.5}`)))
	f.Add([]byte(`{"data":[null,1,"x",{"id":1}],"pagination":{"has_more":"true"}}`))
	f.Add([]byte(`{"data":[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := platform.Reply{Endpoint: endpointList, Status: 200, Header: http.Header{}, Body: append([]byte(nil), body...)}
		p, err := parsePage(r, 1)
		if err != nil {
			if ads.ClassOf(err) != ads.ClassBadReply {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, rec := range p.records {
			if rec.Problem == nil && (rec.ID == "" || strings.ContainsRune(rec.ID+rec.Name+rec.PlatformStatus, 0)) {
				t.Fatalf("%+v", rec)
			}
		}
		if string(r.Body) != string(body) {
			t.Fatal("the body was changed")
		}
	})
}

func FuzzParseSync(f *testing.F) {
	f.Add([]byte(`{"success":true,"campaign_id":"a"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := parseSync(platform.Reply{Status: 200, Body: body}, "a"); err == nil && !strings.Contains(string(body), "succ") && !strings.Contains(string(body), `\u`) {
			t.Fatalf("%q counts as a success", body)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"t","expires_in":"1e3"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		tok, err := New(Options{}).ParseToken(platform.Reply{Endpoint: endpointToken, Status: 200, Body: body})
		if err == nil && tok.Life < 0 {
			t.Fatalf("life %v", tok.Life)
		}
	})
}

func FuzzClassify(f *testing.F) {
	f.Add(429, []byte(`{"retry_after":60}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		v := New(Options{PageSize: 10}).Classify(platform.Reply{Endpoint: endpointList, Status: status, Header: http.Header{}, Body: body})
		if v.Wait.Set && v.Wait.Value < 0 {
			t.Fatalf("wait %v", v.Wait.Value)
		}
	})
}

// A record that was kept with a failure, as the database gives it back.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"a","name":"\ud83c\udfaf","budget":1.5,"created_at":"2024-12-11T10:30:00.000Z"}`))
	f.Add([]byte(`{"id":1,"ID":"b","budget":1e400}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec := New(Options{Account: "acme"}).Decode(platform.Task{}, raw)
		if rec.Problem == nil && (rec.ID == "" || strings.ContainsRune(rec.ID+rec.Name+rec.PlatformStatus, 0)) {
			t.Fatalf("%+v", rec)
		}
	})
}

func BenchmarkParsePage(b *testing.B) {
	var rows []string
	for i := range 500 {
		rows = append(rows, fmt.Sprintf(`{"id":"campaign_%d","name":"Campaign %d","status":"active","budget":%d,"impressions":%d,"clicks":234,"conversions":12,"created_at":"2024-12-11T10:30:00.000Z"}`, i, i, 1000+i, i*37))
	}
	body := fmt.Sprintf(frame, strings.Join(rows, ","))
	r := reply(endpointList, 200, body)
	// The limit: the same bytes only looked through for being JSON, by the same library.
	const looks = 200
	begin := time.Now()
	for range looks {
		if !jsontext.Value(body).IsValid() {
			b.Fatal("no JSON")
		}
	}
	limit := time.Since(begin) / looks
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parsePage(r, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*500/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(limit)*float64(b.N)/float64(b.Elapsed()), "of-limit")
}
