package googleads

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// seeds adds the answers of a folder of testdata.
func seeds(f *testing.F, dir string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("%d answers in %s, %v", len(files), dir, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// storable holds what every database needs of a text.
func storable(t *testing.T, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if ads.Text(s) != s {
			t.Fatalf("%q cannot be stored", s)
		}
	}
}

// Whatever comes as a page: it is refused as a bad reply, or it is whole JSON, and each of its rows is a record or a problem.
func FuzzPage(f *testing.F) {
	seeds(f, "page")
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parsePage(platform.Reply{Endpoint: "list ads", Status: 200, Body: bytes.Clone(body)})
		if err != nil {
			if ads.ClassOf(err) != ads.ClassBadReply {
				t.Fatal(err)
			}
			return
		}
		for i, row := range p.rows {
			for stream := range queries {
				r := readEntity(task(stream, ""), row, 1, i+1)
				if r.Problem != nil {
					storable(t, r.Problem.EntityID)
					if r.Problem.EntityID == "" || r.Problem.Code == "" || r.Problem.Message == "" {
						t.Fatalf("%+v", r.Problem)
					}
					continue
				}
				storable(t, r.ID, r.CampaignID, r.AdGroupID, r.Name, r.PlatformStatus, r.Objective, r.BudgetPeriod, r.Currency)
				if !isID(r.ID) || r.Status == "" || !bytes.Equal(r.Raw, row) || stream == ads.StreamCampaigns != (r.Objective != "") {
					t.Fatalf("%+v", r)
				}
			}
			c, err := readClient(row, "1")
			if err == nil {
				storable(t, c.account.ID, c.account.Name, c.account.PlatformStatus, c.account.Currency, c.account.TimeZone)
				if !isID(c.account.ID) || rootOf(c.account.Raw) != "1" {
					t.Fatalf("%+v", c)
				}
			}
		}
	})
}

// Whatever comes as a stream: rows count only when all of it is there, so that no part of it without its end is an answer too.
func FuzzStream(f *testing.F) {
	seeds(f, "stream")
	f.Fuzz(func(t *testing.T, body []byte) {
		reply := platform.Reply{Endpoint: endpointReport, Status: 200, Body: bytes.Clone(body)}
		p, err := parseStream(reply)
		if err != nil {
			if ads.ClassOf(err) != ads.ClassBadReply {
				t.Fatal(err)
			}
			return
		}
		if short := bytes.TrimRight(body, " \t\r\n"); len(short) > 0 {
			reply.Body = bytes.Clone(short[:len(short)-1])
			if _, err := parseStream(reply); err == nil {
				t.Fatalf("without its last bracket it still is a stream: %q", body)
			}
		}
		for level := range reports {
			rows, shared, err := figures(slice(level, ""), p)
			if err != nil {
				if ads.ClassOf(err) != ads.ClassBadReply {
					t.Fatal(err)
				}
				continue
			}
			if len(rows)+shared != len(p.rows) {
				t.Fatalf("%d rows, %d of them added to others: %d", len(p.rows), shared, len(rows))
			}
			for i, m := range rows {
				if !isID(m.EntityID) || m.Date.IsZero() || !m.Clicks.Set || !m.Spend.Set || m.Conversions.Value.Scale > ads.MaxScale || shared == 0 && !bytes.Equal(m.Raw, p.rows[i]) {
					t.Fatalf("%+v", m)
				}
			}
		}
	})
}

// Whatever comes as a refusal has a class, and words that can be printed; a good status with an error in it is no good answer.
func FuzzRefusal(f *testing.F) {
	seeds(f, "refusal")
	p, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, endpoint := range []string{endpointToken, endpointRoots, endpointReport, "list ads"} {
			for _, status := range []int{200, 400, 401, 403, 404, 429, 500, 504} {
				v := p.Classify(platform.Reply{Endpoint: endpoint, Status: status, Body: bytes.Clone(body)})
				if v.Class == ads.ClassOK {
					if status != 200 {
						t.Fatalf("%d is taken for good", status)
					}
					var alone struct {
						Error map[string]json.RawMessage `json:"error"`
					}
					if endpoint != endpointToken && len(body) < 1000 && bytes.HasPrefix(body, []byte(`{"error":{`)) && json.Unmarshal(body, &alone) == nil && len(alone.Error) > 0 {
						t.Fatalf("an error is taken for good: %s", body)
					}
					continue
				}
				if v.Message == "" || v.Code == "" || severity[v.Class] == 0 || v.Wait.Set && v.Wait.Value < 0 {
					t.Fatalf("%d: %+v", status, v)
				}
				if s := fmt.Sprint(v.Code, v.RequestID, v.Message); ads.Printable(s, len(s)) != s {
					t.Fatalf("not fit to be printed: %q", s)
				}
			}
		}
	})
}

func FuzzToken(f *testing.F) {
	seeds(f, "token")
	f.Fuzz(func(t *testing.T, body []byte) {
		tok, err := ParseToken(platform.Reply{Endpoint: endpointToken, Status: 200, Body: body})
		if (err == nil) != (tok.Value != "") || tok.Life < 0 {
			t.Fatalf("life %s, %v", tok.Life, err)
		}
		_, _ = parseRoots(platform.Reply{Endpoint: endpointRoots, Status: 200, Body: body})
	})
}

// Of JSON that is valid the quick reader sees what a full one sees; of anything else it comes to an end.
func FuzzScan(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":1}`, ` { "a" : [1,{"b":"]"}] , "c\u0061" : "x\\\"y" , "d":null,"e":-1.5e+3,"f":true } `, `{"a":{"b":{}},"a":2}`, `[1]`, `{"a"`, `{"a":"\`, `{"":""}`, `{"a":tru`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got []string
		for s := scanObject(body); ; {
			m, ok := s.next()
			if !ok {
				break
			}
			got = append(got, string(m.key), string(m.value))
			if len(got) > len(body)+2 {
				t.Fatalf("no end of %q", body)
			}
			_, _ = found(m.value).scalar(), found(m.value).inner()
		}
		v := jsontext.Value(body)
		if !v.IsValid(loose) || v.Kind() != '{' {
			return
		}
		var want []string
		dec := jsontext.NewDecoder(bytes.NewReader(body), loose)
		_, _ = dec.ReadToken()
		for dec.PeekKind() != '}' {
			for range 2 {
				v, err := dec.ReadValue()
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, string(v))
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d members, want %d, of %q", len(got)/2, len(want)/2, body)
		}
		for i := range got {
			a, _ := jsontext.AppendUnquote(nil, got[i])
			b, _ := jsontext.AppendUnquote(nil, want[i])
			if i%2 == 0 && !bytes.Equal(a, b) || i%2 == 1 && got[i] != want[i] {
				t.Fatalf("%q, want %q, of %q", got[i], want[i], body)
			}
			if i%2 == 1 {
				var s scalar
				if err := jsonx.Unmarshal([]byte(want[i]), &s, loose); err == nil && found(got[i]).scalar() != s {
					t.Fatalf("%q is %+v, want %+v", got[i], found(got[i]).scalar(), s)
				}
			}
		}
	})
}
