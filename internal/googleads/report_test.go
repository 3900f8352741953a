package googleads

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

func slice(level, cursor string) platform.Slice {
	return platform.Slice{Account: shop, Level: level, From: date("2026-11-01"), To: date("2026-11-14"), Cursor: cursor, Now: date("2026-11-20").Time()}
}

// Rows of figures as they come; one that cannot be kept exactly spoils its page.
func TestFigures(t *testing.T) {
	for _, x := range []struct{ name, level, row, want string }{
		{
			"campaign", ads.LevelCampaign, `{"customer":{"id":"4445556666"},"campaign":{"id":"20111"},"metrics":{"impressions":"10432","clicks":"211","costMicros":"83410000","conversions":6.5,"conversionsValue":412.5,"allConversions":7.1},"segments":{"date":"2026-11-20"}}`,
			"20111 2026-11-20 10432 211 83410000 6.5 412500000 EUR",
		},
		{"numbers as numbers", ads.LevelCampaign, `{"campaign":{"id":20111},"metrics":{"impressions":9007199254740993,"clicks":1,"costMicros":1e6,"conversions":"0.25","conversionsValue":1},"segments":{"date":"2026-11-20"}}`, "20111 2026-11-20 9007199254740993 1 1000000 0.25 1000000 EUR"},
		{"account", ads.LevelAccount, `{"customer":{"id":"4445556666"},"metrics":{"impressions":"1","clicks":"0","costMicros":"0","conversions":0,"conversionsValue":0},"segments":{"date":"2026-11-20"}}`, "4445556666 2026-11-20 1 0 0 0 0 EUR"},
		{"zeros left out", ads.LevelAdGroup, `{"adGroup":{"id":"33"},"metrics":{"impressions":"1"},"segments":{"date":"2026-11-20"}}`, "33 2026-11-20 1 0 0 0 0 EUR"},
		{"null", ads.LevelAdGroup, `{"adGroup":{"id":"33"},"metrics":{"impressions":"1","clicks":null},"segments":{"date":"2026-11-20"}}`, "33 2026-11-20 1 0 0 0 0 EUR"},
		{"shared out by a model", ads.LevelAd, `{"adGroupAd":{"ad":{"id":"77"}},"metrics":{"conversions":0.3333333333333333,"conversionsValue":33.333333333333336},"segments":{"date":"2026-11-20"}}`, "77 2026-11-20 0 0 0 0.333333333 33333333 EUR"},
		{"taken back", ads.LevelAd, `{"adGroupAd":{"ad":{"id":"77"}},"metrics":{"conversions":-1.5,"conversionsValue":-20.25},"segments":{"date":"2026-11-20"}}`, "77 2026-11-20 0 0 0 -1.5 -20250000 EUR"},

		{"no entity", ads.LevelAd, `{"adGroup":{"id":"33"},"metrics":{},"segments":{"date":"2026-11-20"}}`, "!which ad"},
		{"no ad group", ads.LevelAdGroup, `{"campaign":{"id":"33"},"metrics":{},"segments":{"date":"2026-11-20"}}`, "!which ad group"},
		{"another account", ads.LevelCampaign, `{"customer":{"id":"7"},"campaign":{"id":"1"},"metrics":{},"segments":{"date":"2026-11-20"}}`, "!another account"},
		{"no day", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{}}`, "!segments.date"},
		{"no such day", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{},"segments":{"date":"2026-02-30"}}`, "!segments.date"},
		{"no metrics", ads.LevelCampaign, `{"campaign":{"id":"1"},"segments":{"date":"2026-11-20"}}`, "!no metrics"},
		{"clicks in parts", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"clicks":"1.5"},"segments":{"date":"2026-11-20"}}`, "!metrics.clicks"},
		{"clicks are words", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"clicks":"many"},"segments":{"date":"2026-11-20"}}`, "!metrics.clicks"},
		{"clicks are true", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"clicks":true},"segments":{"date":"2026-11-20"}}`, "!metrics.clicks"},
		{"impressions are a list", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"impressions":[1]},"segments":{"date":"2026-11-20"}}`, "!metrics.impressions"},
		{"cost too large", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"costMicros":"9223372036854775808"},"segments":{"date":"2026-11-20"}}`, "!metrics.cost_micros"},
		{"cost in parts", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"costMicros":"0.5"},"segments":{"date":"2026-11-20"}}`, "!metrics.cost_micros"},
		{"no number", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"conversions":"NaN"},"segments":{"date":"2026-11-20"}}`, "!metrics.conversions"},
		{"without end", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"conversionsValue":"Infinity"},"segments":{"date":"2026-11-20"}}`, "!metrics.conversions_value"},
		{"a key twice", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"clicks":"1","clicks":"2"},"segments":{"date":"2026-11-20"}}`, "!comes twice"},
		{"a text", ads.LevelCampaign, `"row"`, "!no object"},
		{"an account that is null", ads.LevelCampaign, `{"customer":{"id":null},"campaign":{"id":"1"},"metrics":{"clicks":1},"segments":{"date":"2026-11-20"}}`, "1 2026-11-20 0 1 0 0 0 EUR"},
		{"the account is null", ads.LevelAccount, `{"customer":{"id":null},"metrics":{"clicks":1},"segments":{"date":"2026-11-20"}}`, "!which account"},
		{"metrics twice", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":{"clicks":"1"},"segments":{"date":"2026-11-20"},"metrics":{"clicks":"2"}}`, "!comes twice"},
		{"keys and texts written in another way", ads.LevelCampaign, ` {"c\u0061mpaign" : { "n":[{"id":"}"},"\\\""], "id" : "\u0031" } , "metrics":{"clicks" : "\u0037" }, "segments":{"date":"2026-11-\u0032\u0030"}} `, "1 2026-11-20 0 7 0 0 0 EUR"},
		{"metrics are a list", ads.LevelCampaign, `{"campaign":{"id":"1"},"metrics":[{"clicks":"1"}],"segments":{"date":"2026-11-20"}}`, "!no metrics"},
	} {
		got := ""
		pg, err := parsePage(text(200, `{"results":[`+x.row+`]}`))
		if err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		rows, _, err := figures(slice(x.level, ""), pg)
		if err != nil {
			if want, ok := strings.CutPrefix(x.want, "!"); !ok || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "row 1") || ads.ClassOf(err) != ads.ClassBadReply {
				t.Errorf("%s: %v, want %s", x.name, err, x.want)
			}
			continue
		}
		m := rows[0]
		got = fmt.Sprint(m.EntityID, " ", m.Date, " ", m.Impressions.Value, " ", m.Clicks.Value, " ", int64(m.Spend.Value), " ", m.Conversions.Value, " ", int64(m.ConversionValue.Value), " ", m.Currency)
		if got != x.want || !m.Impressions.Set || !m.Clicks.Set || !m.Spend.Set || !m.Conversions.Set || !m.ConversionValue.Set || string(m.Raw) != strings.TrimSpace(x.row) {
			t.Errorf("%s: %s %s\nwant %s", x.name, got, m.Raw, x.want)
		}
	}
}

const (
	rowA = `{"campaign":{"id":"1"},"metrics":{"clicks":"1"},"segments":{"date":"2026-11-02"}}`
	rowB = `{"campaign":{"id":"2"},"metrics":{"clicks":"2"},"segments":{"date":"2026-11-02"}}`
)

// A stream counts only when it is whole: each of these that is not is no answer, however much of it has come.
func TestParseStream(t *testing.T) {
	whole := `[{"results":[` + rowA + `],"fieldMask":"x","requestId":"r"},{"results":[` + rowB + `],"requestId":"r","queryResourceConsumption":"5"}]`
	for _, x := range []struct {
		name, body, code string
		rows             int
	}{
		{"whole", whole, "", 2},
		{"with space around it", " \n" + whole + "\r\n", "", 2},
		{"no rows", `[{"fieldMask":"x","requestId":"r"}]`, "", 0},
		{"rows that are none", `[{"results":[],"requestId":"r"}]`, "", 0},
		{"no chunks", `[]`, "", 0},
		{"an unknown key", `[{"results":[],"newThing":{"a":[{}]}}]`, "", 0},
		{"an error at the end", `[{"results":[` + rowA + `]},{"error":{"code":500}}]`, "stream_error", 0},
		{"something after it", whole + `[]`, "shape", 0},
		{"an object", `{"results":[` + rowA + `]}`, "shape", 0},
		{"no body", ``, "shape", 0},
		{"a web page", `<html>`, "shape", 0},
		{"null for rows", `[{"results":null,"fieldMask":"x"}]`, "shape", 0},
		{"a chunk of numbers", `[1]`, "shape", 0},
		{"something else", `[{"status":"ok"}]`, "shape", 0},
	} {
		p, err := parseStream(text(200, x.body))
		code := ""
		if e, ok := err.(*ads.Error); ok {
			code = e.Code
		}
		if code != x.code || len(p.rows) != x.rows || err != nil && ads.ClassOf(err) != ads.ClassBadReply {
			t.Errorf("%s: %d rows, %v", x.name, len(p.rows), err)
		}
	}
	for n := range len(whole) {
		if p, err := parseStream(text(200, whole[:n])); err == nil {
			t.Fatalf("cut after %d bytes it still has %d rows: %s", n, len(p.rows), whole[:n])
		}
	}
}

func TestParsePage(t *testing.T) {
	whole := `{"results":[` + rowA + `,` + rowB + `],"nextPageToken":"t","fieldMask":"x","totalResultsCount":"7"}`
	for _, x := range []struct {
		body string
		ok   bool
		rows int
		next string
	}{
		{whole, true, 2, "t"},
		{`{"fieldMask":"x"}`, true, 0, ""},
		{`{"totalResultsCount":"0"}`, true, 0, ""},
		{`{"results":[],"nextPageToken":""}`, true, 0, ""},
		{`{"results":[],"nextPageToken":null}`, true, 0, ""},
		{`{"results":[` + rowA + `],"results":[` + rowB + `]}`, true, 2, ""},
		{`{}`, false, 0, ""},
		{`{"status":"ok"}`, false, 0, ""},
		{`{"results":null}`, false, 0, ""},
		{`{"results":{}}`, false, 0, ""},
		{`{"results":[],"nextPageToken":{}}`, false, 0, ""},
		{`{"results":[],"nextPageToken":"` + strings.Repeat("x", maxToken+1) + `"}`, false, 0, ""},
		{`{"results":[],"error":{"code":500}}`, false, 0, ""},
		{`[]`, false, 0, ""},
		{`null`, false, 0, ""},
		{`{"results":[]}x`, false, 0, ""},
	} {
		p, err := parsePage(text(200, x.body))
		if (err == nil) != x.ok || err == nil && (len(p.rows) != x.rows || p.next != x.next) || err != nil && ads.ClassOf(err) != ads.ClassBadReply {
			t.Errorf("%.100s: %d rows, next %q, %v", x.body, len(p.rows), p.next, err)
		}
	}
	for n := range len(whole) {
		if _, err := parsePage(text(200, whole[:n])); err == nil {
			t.Fatalf("cut after %d bytes it still is a page: %s", n, whole[:n])
		}
	}
}

func TestReport(t *testing.T) {
	for _, stream := range []bool{false, true} {
		p := made(t, Options{Stream: stream})
		c := &caller{p: p, answer: func(a asking) platform.Reply {
			switch {
			case strings.HasSuffix(a.Path, ":searchStream"):
				return text(200, `[{"results":[`+rowA+`,`+rowB+`],"requestId":"r"}]`)
			case a.pageToken == "":
				return text(200, `{"results":[`+rowA+`],"nextPageToken":"t2","fieldMask":"x"}`)
			case a.pageToken == "t2":
				return text(200, `{"results":[`+rowB+`],"fieldMask":"x"}`)
			}
			return refusal(400, "requestError", "INVALID_PAGE_TOKEN")
		}}
		var ids []string
		emit := func(m ads.DailyMetrics) error { ids = append(ids, m.EntityID); return nil }
		s := slice(ads.LevelCampaign, "")
		for range 5 {
			got, err := p.Report(t.Context(), c, s, emit)
			if err != nil {
				t.Fatal(err)
			}
			if s.Cursor = got.Cursor; got.Done {
				break
			}
		}
		if fmt.Sprint(ids) != "[1 2]" || len(c.asked) != map[bool]int{false: 2, true: 1}[stream] {
			t.Errorf("stream %t: %v, %d requests", stream, ids, len(c.asked))
		}
		a := c.asked[0]
		if !strings.HasSuffix(a.query, "FROM campaign WHERE segments.date BETWEEN '2026-11-01' AND '2026-11-14' PARAMETERS omit_unselected_resource_names=true") || !strings.Contains(a.query, "metrics.video_trueview_views") || a.root != "111" || a.Priority != platform.PriorityFollowUp {
			t.Errorf("%+v", a)
		}
		// A day that is too much is asked for with less, and what is older than it moves comes after what is not.
		s = slice(ads.LevelAd, "")
		s.Shrink, s.Now = 1, date("2026-12-31").Time()
		_, _ = p.Report(t.Context(), c, s, emit)
		if a = c.asked[len(c.asked)-1]; strings.Contains(a.query, "view_through") || !strings.Contains(a.query, "metrics.conversions_value FROM ad_group_ad") || a.Priority != platform.PriorityBackfill {
			t.Errorf("%s", a.query)
		}
		s = slice(ads.LevelCampaign, place{"gone", 2}.cursor())
		if _, err := p.Report(t.Context(), c, s, emit); ads.ClassOf(err) != ads.ClassStaleCursor {
			t.Errorf("%v", err)
		}
		if _, err := p.Report(t.Context(), c, slice("keyword", ""), emit); ads.ClassOf(err) != ads.ClassInternal {
			t.Errorf("%v", err)
		}
	}
}

// What comes of a stream before its error is not a row of anything.
func TestReportKeepsNothingOfHalf(t *testing.T) {
	p := made(t, Options{Stream: true})
	for _, body := range []string{
		`[{"results":[` + rowA + `],"requestId":"r"}`, `[{"results":[` + rowA + `],"requestId":"r"},{"error":{"code":500,"status":"INTERNAL"}}]`, `[{"results":[` + rowA + `,{"campaign":{"id":"2"}}]}]`,
	} {
		_, err := p.Report(t.Context(), &caller{p: p, answer: func(asking) platform.Reply { return text(200, body) }}, slice(ads.LevelCampaign, ""), func(m ads.DailyMetrics) error {
			t.Errorf("%s: a row of %s", body, m.EntityID)
			return nil
		})
		if c := ads.ClassOf(err); c != ads.ClassBadReply && c != ads.ClassTransient {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// An ad that stands in two ad groups has the sum of both, and the run says so.
func TestSharedAd(t *testing.T) {
	row := func(group, conversions, clicks string) string {
		return `{"adGroup":{"id":"` + group + `"},"adGroupAd":{"ad":{"id":"77"}},"metrics":{"impressions":"10","clicks":"` + clicks + `","costMicros":"5","conversions":` + conversions + `,"conversionsValue":0.5},"segments":{"date":"2026-11-02"}}`
	}
	p := made(t, Options{})
	read := func(rows ...string) (out []ads.DailyMetrics, got platform.Progress, err error) {
		got, err = p.Report(t.Context(), &caller{p: p, answer: func(asking) platform.Reply { return text(200, `{"results":[`+strings.Join(rows, ",")+`]}`) }}, slice(ads.LevelAd, ""), func(m ads.DailyMetrics) error {
			out = append(out, m)
			return nil
		})
		return out, got, err
	}
	rows, got, err := read(row("1", "0.25", "3"), strings.Replace(row("1", "1", "9"), "11-02", "11-03", 1), row("2", "1.5", "4"))
	if err != nil || len(rows) != 2 || len(got.Findings) != 1 || got.Findings[0].Code != "shared_ad" {
		t.Fatalf("%+v, %+v, %v", rows, got, err)
	}
	m := rows[0]
	if m.Clicks.Value != 7 || m.Impressions.Value != 20 || m.Spend.Value != 10 || m.ConversionValue.Value != 1_000_000 || m.Conversions.Value.String() != "1.75" || rows[1].Clicks.Value != 9 {
		t.Errorf("%+v", rows)
	}
	if _, _, err := read(row("1", "1", "9223372036854775807"), row("2", "1", "1")); ads.ClassOf(err) != ads.ClassBadReply {
		t.Errorf("a sum that does not fit: %v", err)
	}
	if _, _, err := read(row("1", "9000000000000000000", "1"), row("2", "0.5", "1")); ads.ClassOf(err) != ads.ClassBadReply {
		t.Errorf("a sum that does not fit: %v", err)
	}
}

// tooMuch is a client that does not take so large an answer.
type tooMuch struct{}

func (tooMuch) Do(context.Context, platform.Request) (platform.Reply, error) {
	return platform.Reply{}, &ads.Error{Class: ads.ClassTransient, Code: codeBody, Message: "body over 32 MiB"}
}

func TestAnswerTooLarge(t *testing.T) {
	for _, stream := range []bool{false, true} {
		_, err := made(t, Options{Stream: stream}).Report(t.Context(), tooMuch{}, slice(ads.LevelAd, ""), func(ads.DailyMetrics) error { return nil })
		if ads.ClassOf(err) != ads.ClassTooLarge {
			t.Errorf("stream %t: %v", stream, err)
		}
	}
}
