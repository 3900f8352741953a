// Package adplatform is the connector for the Ad Platform API: page numbers, a per-campaign sync call, Basic credentials that buy a
// bearer token, and a quota per X-Client-ID.
//
// It describes requests and reads answers. Loops, waits, tokens and tries belong to the engine and the client.
package adplatform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// Name is the platform's name in configurations and tables.
const Name = "adplatform"

// Endpoint labels, as logs and metrics show them.
const (
	endpointToken = "token"
	endpointList  = "list campaigns"
	endpointSync  = "sync campaign"
)

// Options are a connection's settings.
type Options struct {
	Account         string // the one account's id and name: the client's id
	XClientID       string // value of the X-Client-ID header; empty: not sent
	PageSize        int    // rows asked for on a page, ≥ 1
	PerCampaignSync bool   // call POST /api/campaigns/{id}/sync for each listed campaign
}

// New is the platform as one connection sees it.
func New(o Options) *Platform { return &Platform{o: o} }

// Platform implements platform.Follower, platform.Decoder and platform.Authenticator.
type Platform struct{ o Options }

// Spec implements platform.Platform. The API closes idle connections after about 5 seconds, so ours are closed after 4.
func (p *Platform) Spec() platform.Spec {
	return platform.Spec{
		Name:        Name,
		IdleTimeout: 4 * time.Second,
		HealthPath:  "/health",
		Streams: []platform.Stream{{
			Name: ads.StreamCampaigns, FollowUps: p.o.PerCampaignSync, PageRows: p.o.PageSize, RecordName: "campaign",
		}},
	}
}

// Accounts implements platform.Platform: the API has no notion of accounts, so there is one, named like the client.
func (p *Platform) Accounts(context.Context, platform.Caller) iter.Seq2[ads.Account, error] {
	return func(yield func(ads.Account, error) bool) {
		yield(ads.Account{ID: p.o.Account, Name: p.o.Account, Status: ads.StatusActive}, nil)
	}
}

// cursor is the place in a listing. A page number means nothing under another page size, so the size is kept with it.
type cursor struct {
	Page  int `json:"page"`
	Limit int `json:"limit"`
}

// Step implements platform.Platform: one GET /api/campaigns.
func (p *Platform) Step(ctx context.Context, api platform.Caller, t platform.Task, emit func(ads.Record) error) (platform.Next, error) {
	cur := cursor{Page: 1, Limit: p.o.PageSize}
	if t.Cursor != "" {
		if err := json.Unmarshal([]byte(t.Cursor), &cur); err != nil || cur.Page < 1 || cur.Limit != p.o.PageSize {
			return platform.Next{}, &ads.Error{
				Class: ads.ClassStaleCursor, Code: "page_size_changed", Endpoint: endpointList,
				Message: "the place reached was counted in pages of another size",
			}
		}
	}
	var page page
	_, err := api.Do(ctx, platform.Request{
		Endpoint: endpointList, Method: http.MethodGet, Path: "/api/campaigns",
		Query:  "page=" + strconv.Itoa(cur.Page) + "&limit=" + strconv.Itoa(cur.Limit),
		Header: p.header(), Repeatable: true, Critical: true, Priority: platform.PriorityListing,
		Parse: func(r platform.Reply) (err error) {
			page, err = parsePage(r, cur.Page)
			return err
		},
	})
	if err != nil {
		return platform.Next{}, err
	}
	for i := range page.records {
		if err := emit(page.records[i]); err != nil {
			return platform.Next{}, err
		}
	}
	following, _ := json.Marshal(cursor{Page: cur.Page + 1, Limit: cur.Limit})
	next := platform.Next{Cursor: string(following), More: page.more, Total: page.total, Page: cur.Page}
	if page.number.Set && page.number.Value != int64(cur.Page) {
		next.Echo = ads.Some(platform.EchoErr{Asked: fmt.Sprintf("page %d", cur.Page), Got: fmt.Sprintf("page %d", page.number.Value)})
	}
	if page.limit.Set && page.limit.Value != int64(cur.Limit) {
		next.Findings = append(next.Findings, ads.Problem{
			Code:    "page_size",
			Message: fmt.Sprintf("the platform uses pages of %d where %d was asked for", page.limit.Value, cur.Limit),
		})
	}
	return next, nil
}

// Follow implements platform.Follower: POST /api/campaigns/{id}/sync. The call may be repeated safely; the key, the same for all
// tries and lives of a run, lets the platform see that it is the same call.
func (p *Platform) Follow(ctx context.Context, api platform.Caller, t platform.Task, id string) error {
	body, err := json.Marshal(map[string]string{"campaign_id": id})
	if err != nil {
		return err
	}
	key := sha256.Sum256([]byte(t.RunID + "\x00" + t.Account.ID + "\x00" + id))
	h := p.header()
	h.Set("Content-Type", "application/json")
	h.Set("Idempotency-Key", hex.EncodeToString(key[:16]))
	_, err = api.Do(ctx, platform.Request{
		Endpoint: endpointSync, Method: http.MethodPost, Path: "/api/campaigns/" + pathSegment(id) + "/sync",
		Header: h, Body: body, Repeatable: true, Priority: platform.PriorityFollowUp,
		Parse: func(r platform.Reply) error { return parseSync(r, id) },
	})
	return err
}

// Decode implements platform.Decoder.
func (p *Platform) Decode(_ platform.Task, raw []byte) ads.Record { return decodeRecord(raw, 0, 0) }

// TokenRequest implements platform.Authenticator.
func (p *Platform) TokenRequest() platform.Request {
	return platform.Request{
		Endpoint: endpointToken, Method: http.MethodPost, Path: "/auth/token", Header: http.Header{"Accept": {"application/json"}},
		Basic: true, NoAuth: true, Uncounted: true, Repeatable: true, Critical: true,
	}
}

func (p *Platform) header() http.Header {
	h := http.Header{"Accept": {"application/json"}}
	if p.o.XClientID != "" {
		h["X-Client-Id"] = []string{p.o.XClientID}
	}
	return h
}

// pathSegment encodes an id so that it stays one segment of a path, whatever is in it; "." and ".." too, which routers would resolve.
func pathSegment(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}
