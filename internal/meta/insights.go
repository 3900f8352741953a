package meta

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// reading is where a slice is: pages that come at once, or a report job that was asked for, is being made, or is read.
type reading struct {
	Job   string    `json:"job,omitempty"`
	Asked time.Time `json:"asked,omitzero"`
	Ready bool      `json:"ready,omitempty"`
	Looks int       `json:"looks,omitempty"` // at the job's status
	After string    `json:"after,omitempty"`
	Limit int       `json:"limit"`
}

func (r reading) cursor() string {
	b, _ := json.Marshal(r)
	return string(b)
}

// Bounds of a report job.
const (
	firstWait   = 2 * time.Second  // from the first look, which is made at once, to the second
	lastWait    = time.Minute      // between two looks
	notBegun    = 10 * time.Minute // a job that is still at 0 % then is taken for one that gets nowhere
	notDone     = 70 * time.Minute // the platform tries for up to an hour by itself
	notYetThere = 6                // looks at a job that is not there yet, right after it was asked for
)

// Report implements platform.Reporter. The account's and the campaigns' figures come at once, those of ad sets and ads, and what was too much to come at
// once, by a report job.
func (p *Platform) Report(ctx context.Context, api platform.Caller, s platform.Slice, emit func(ads.DailyMetrics) error) (platform.Progress, error) {
	at := reading{Limit: max(1, p.o.ReportRows>>max(0, s.Shrink-1))}
	if s.Cursor != "" {
		if err := json.Unmarshal([]byte(s.Cursor), &at); err != nil || at.Limit < 1 {
			return platform.Progress{}, stale("the place reached is not one of this version", nil)
		}
	}
	switch {
	case s.Shrink == 0 && (s.Level == ads.LevelAccount || s.Level == ads.LevelCampaign):
		return p.rows(ctx, api, s, at, endpointInsights, p.path(act(s.Account), "insights"), p.query(s), emit)
	case at.Job == "":
		return p.ask(ctx, api, s, at)
	case !at.Ready:
		if pr, ready, err := p.look(ctx, api, s, at); !ready {
			return pr, err
		}
		at.Ready = true
	}
	return p.rows(ctx, api, s, at, endpointRows, p.path(at.Job, "insights"), url.Values{}, emit)
}

func stale(message string, cause error) error {
	return &ads.Error{Class: ads.ClassStaleCursor, Code: "report_gone", Endpoint: endpointJob, Message: message, Err: cause}
}

// The names that the platform has for our levels, and the fields that say which thing a row is about.
var platformLevels = map[string]struct{ name, fields, prefix string }{
	ads.LevelAccount:  {"account", "account_id", ""},
	ads.LevelCampaign: {"campaign", "account_id,campaign_id", "campaign."},
	ads.LevelAdGroup:  {"adset", "account_id,campaign_id,adset_id", "adset."},
	ads.LevelAd:       {"ad", "account_id,campaign_id,adset_id,ad_id", "ad."},
}

const (
	fewFields  = ",account_currency,date_start,date_stop,impressions,clicks,spend,actions,action_values"
	moreFields = ",inline_link_clicks,reach,frequency,conversions,conversion_values,purchase_roas,video_play_actions"
)

// query is what figures are asked for. Things that are archived or deleted are named, since their figures are left out otherwise while they stay in the
// account's totals.
func (p *Platform) query(s platform.Slice) url.Values {
	l := platformLevels[s.Level]
	fields := l.fields + fewFields
	if s.Shrink < 2 {
		fields += moreFields
	}
	span, _ := json.Marshal(map[string]string{"since": s.From.String(), "until": s.To.String()})
	q := url.Values{"level": {l.name}, "time_increment": {"1"}, "time_range": {string(span)}, "fields": {fields}}
	if states := effective[s.Level]; states != nil {
		filter, _ := json.Marshal([]any{map[string]any{"field": l.prefix + "effective_status", "operator": "IN", "value": states}})
		q.Set("filtering", string(filter))
	}
	return q
}

// rows reads a page of figures.
func (p *Platform) rows(ctx context.Context, api platform.Caller, s platform.Slice, at reading, endpoint, path string, q url.Values, emit func(ads.DailyMetrics) error) (platform.Progress, error) {
	if at.After != "" {
		q.Set("after", at.After)
	}
	var l list
	var figures []ads.DailyMetrics
	var reply platform.Reply
	for {
		q.Set("limit", strconv.Itoa(at.Limit))
		r := p.get(endpoint, path, q)
		r.Scope = scope(s.Account)
		r.Parse = func(reply platform.Reply) (err error) {
			if l, err = parseList(reply); err != nil {
				return err
			}
			figures, err = p.figures(endpoint, s, l.rows)
			return err
		}
		var err error
		if reply, err = api.Do(ctx, r); err == nil {
			break
		}
		e, _ := err.(*ads.Error)
		switch {
		case e == nil:
			return platform.Progress{}, err
		case e.Class == ads.ClassTooLarge && e.Code == codeReduce && at.Limit > 1:
			at.Limit = max(1, at.Limit/2) // the page, not the report
			continue
		case at.After != "" && staleCursor(err), at.Job != "" && e.Code == codeNotThere:
			return platform.Progress{}, stale("the platform no longer knows the place reached in the report, or the report", err)
		case at.Job != "" && e.Code == codeNotComplete:
			// It was told to be ready and is not.
			at.Ready = false
			return p.wait(s, at, "the platform said that the report was ready, and it is not")
		}
		return platform.Progress{}, err
	}
	for i := range figures {
		if err := emit(figures[i]); err != nil {
			return platform.Progress{}, err
		}
	}
	at.After = l.after
	return platform.Progress{Cursor: at.cursor(), Done: !l.more, Findings: p.answeredBy(reply.Header)}, nil
}

// ask begins a report job.
func (p *Platform) ask(ctx context.Context, api platform.Caller, s platform.Slice, at reading) (platform.Progress, error) {
	q := p.query(s)
	r := p.get(endpointAsk, p.path(act(s.Account), "insights"), nil)
	r.Method, r.Body, r.Scope = http.MethodPost, []byte(q.Encode()), scope(s.Account)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Parse = func(reply platform.Reply) error {
		var x struct {
			Run scalar `json:"report_run_id"`
			ID  scalar `json:"id"`
		}
		if err := object(reply, &x); err != nil {
			return err
		}
		at.Job = string(x.Run)
		if at.Job == "" {
			at.Job = string(x.ID)
		}
		if _, err := strconv.ParseUint(at.Job, 10, 64); err != nil {
			return badReply(endpointAsk, "shape", "the answer names no report")
		}
		return nil
	}
	if _, err := api.Do(ctx, r); err != nil {
		return platform.Progress{}, err
	}
	at.Asked = s.Now.UTC()
	return platform.Progress{Cursor: at.cursor()}, nil
}

// wait puts the next look off, longer each time.
func (p *Platform) wait(s platform.Slice, at reading, message string) (platform.Progress, error) {
	if s.Now.Sub(at.Asked) > notDone {
		return platform.Progress{}, &ads.Error{Class: ads.ClassTooLarge, Code: "report_slow", Endpoint: endpointJob, Message: fmt.Sprintf("the report was not done after %s", s.Now.Sub(at.Asked).Round(time.Second))}
	}
	at.Looks++
	return platform.Progress{Cursor: at.cursor(), Wait: min(firstWait<<min(at.Looks-1, 10), lastWait), Message: message}, nil
}

// look asks how far a job is, and reports whether its rows can be read.
func (p *Platform) look(ctx context.Context, api platform.Caller, s platform.Slice, at reading) (pr platform.Progress, ready bool, err error) {
	var x struct {
		Status  scalar `json:"async_status"`
		Percent scalar `json:"async_percent_completion"`
		Code    scalar `json:"error_code"`
		Sub     scalar `json:"error_subcode"`
		Message scalar `json:"error_message"`
		Title   scalar `json:"error_user_title"`
	}
	r := p.get(endpointJob, p.path(at.Job), url.Values{"fields": {"id,account_id,async_status,async_percent_completion,is_running,error_code,error_subcode,error_message,error_user_title"}})
	r.Scope = scope(s.Account)
	r.Parse = func(reply platform.Reply) error {
		if err := object(reply, &x); err != nil {
			return err
		}
		if x.Status == "" {
			return badReply(endpointJob, "shape", "the answer does not say how the report stands")
		}
		return nil
	}
	if _, err := api.Do(ctx, r); err != nil {
		if e, ok := err.(*ads.Error); ok && e.Code == codeNotThere {
			if at.Looks < notYetThere {
				pr, err = p.wait(s, at, "the report that was asked for is not there yet")
				return pr, false, err
			}
			return platform.Progress{}, false, stale("the report is no longer there", err)
		}
		return platform.Progress{}, false, err
	}
	percent, _ := strconv.Atoi(string(x.Percent))
	switch x.Status {
	case "Job Completed":
		if percent < 100 {
			pr, err = p.wait(s, at, fmt.Sprintf("the report is said to be complete at %d %%", percent))
			return pr, false, err
		}
		return platform.Progress{}, true, nil
	case "Job Failed", "Job Skipped":
		return platform.Progress{}, false, p.failed(s, string(x.Status), string(x.Code), string(x.Sub), string(x.Message))
	}
	if percent == 0 && s.Now.Sub(at.Asked) > notBegun {
		return platform.Progress{}, false, &ads.Error{Class: ads.ClassTooLarge, Code: "report_stuck", Endpoint: endpointJob, Message: fmt.Sprintf("the report was still at 0 %% after %s", s.Now.Sub(at.Asked).Round(time.Second))}
	}
	pr, err = p.wait(s, at, fmt.Sprintf("the platform prepares the report: %d %%", percent))
	return pr, false, err
}

// failed is the error of a job that came to nothing: asking for less helps more often than asking again, and where there is no less, it is asked again.
func (p *Platform) failed(s platform.Slice, status, code, sub, message string) error {
	e := &ads.Error{Class: ads.ClassTooLarge, Code: "report_failed", Endpoint: endpointJob, Message: "the platform could not make the report: " + status}
	if message != "" {
		e.Message += ", " + ads.Printable(message, 200)
	}
	c, err := strconv.Atoi(code)
	if err != nil {
		c = 0
	}
	n, _ := strconv.Atoi(sub)
	switch r := ruleOf(c, n); {
	case code != "" && (r.class == ads.ClassPermanent && c > 0 || r.class == ads.ClassDenied):
		e.Class, e.Code = r.class, codeText(c, n)
	case s.From == s.To && r.class != ads.ClassTooLarge:
		e.Class = ads.ClassStaleCursor
	}
	return e
}
