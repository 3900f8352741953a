package authorize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"adsync/internal/ads"
	"adsync/internal/secret"
)

// Google gives a refresh token for the Google Ads API. dialog and token are the origins of the dialog and the token endpoint; empty: Google's own.
func Google(dialog, token string) Provider {
	if dialog == "" {
		dialog = "https://accounts.google.com"
	}
	if token == "" {
		token = "https://oauth2.googleapis.com"
	}
	return Provider{
		Title: "Google", Host: "127.0.0.1", Dialog: dialog + "/o/oauth2/v2/auth", Token: token + "/token", Scopes: []string{"https://www.googleapis.com/auth/adwords"},
		Asks: map[string]string{"access_type": "offline", "prompt": "consent"}, PKCE: true,
		Finish: func(_ context.Context, _ *http.Client, app App, t *oauth2.Token) (Result, error) {
			if t.RefreshToken == "" {
				return Result{}, &Error{Refused: true, Message: "Google gave no refresh token", Hint: "take the app's access back at https://myaccount.google.com/permissions, and try again"}
			}
			return Result{
				Values: []Value{{"GOOGLE_CLIENT_ID", secret.New(app.ID)}, {"GOOGLE_CLIENT_SECRET", app.Secret}, {"GOOGLE_REFRESH_TOKEN", secret.New(t.RefreshToken)}},
				Said:   []string{"The refresh token has no end of its own. While the app's consent screen is in testing it ends after 7 days: publish the app."},
			}, nil
		},
	}
}

// Meta gives a long-lived token for the Marketing API. dialog and graph are the origins of the dialog and the API; empty: Meta's own.
func Meta(version, dialog, graph string) Provider {
	if dialog == "" {
		dialog = "https://www.facebook.com"
	}
	if graph == "" {
		graph = "https://graph.facebook.com"
	}
	base := graph + "/" + version
	return Provider{
		Title: "Meta", Host: "localhost", Dialog: dialog + "/" + version + "/dialog/oauth", Token: base + "/oauth/access_token", Scopes: []string{"ads_read,business_management"},
		Exchange: func(ctx context.Context, c *http.Client, app App, code, redirect string) (*oauth2.Token, error) {
			t := &oauth2.Token{}
			q := url.Values{"client_id": {app.ID}, "client_secret": {app.Secret.Reveal()}, "redirect_uri": {redirect}, "code": {code}}
			err := get(ctx, c, base+"/oauth/access_token?"+q.Encode(), "", t)
			if err == nil && t.AccessToken == "" {
				err = errors.New("the answer holds no token")
			}
			return t, err
		},
		Finish: func(ctx context.Context, c *http.Client, app App, short *oauth2.Token) (Result, error) {
			var long struct {
				Token string `json:"access_token"`
			}
			exchange := url.Values{"grant_type": {"fb_exchange_token"}, "client_id": {app.ID}, "client_secret": {app.Secret.Reveal()}, "fb_exchange_token": {short.AccessToken}}
			if err := get(ctx, c, base+"/oauth/access_token?"+exchange.Encode(), "", &long); err != nil {
				return Result{}, failed("Meta", "the exchange for a token that lives longer", err, app, short.AccessToken)
			}
			if long.Token == "" {
				return Result{}, &Error{Message: "Meta's answer holds no token"}
			}
			var about struct {
				Data struct {
					Valid   bool     `json:"is_valid"`
					Expires int64    `json:"expires_at"`
					Scopes  []string `json:"scopes"`
				} `json:"data"`
			}
			if err := get(ctx, c, base+"/debug_token?"+url.Values{"input_token": {long.Token}}.Encode(), app.ID+"|"+app.Secret.Reveal(), &about); err != nil {
				return Result{}, failed("Meta", "the question what the token is", err, app, short.AccessToken, long.Token)
			}
			r := Result{Values: []Value{{"META_APP_SECRET", app.Secret}, {"META_ACCESS_TOKEN", secret.New(long.Token)}}}
			d := about.Data
			switch {
			case !d.Valid:
				return Result{}, &Error{Refused: true, Message: "Meta says that the token it has just given is not valid"}
			case d.Expires > 0:
				end := time.Unix(d.Expires, 0).UTC()
				r.Said = append(r.Said, fmt.Sprintf("The token ends on %s. With app_id, app_secret and token_key set, adsync exchanges it in time; without, somebody has to do this again.", end.Format(time.DateOnly)))
			default:
				r.Said = append(r.Said, "The token has no end.")
			}
			if !slices.Contains(d.Scopes, "ads_read") && !slices.Contains(d.Scopes, "ads_management") {
				return Result{}, &Error{Refused: true, Message: "the token was given without ads_read, so no figures could be read with it", Hint: "run it again, and leave all boxes of the dialog ticked"}
			}
			r.Said = append(r.Said, "It is good for "+ads.Printable(strings.Join(d.Scopes, ", "), 300)+".")
			return r, nil
		},
	}
}

// get reads a JSON document. The error of a refusal is an *oauth2.RetrieveError.
func get(ctx context.Context, c *http.Client, address, bearer string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := c.Do(r)
	if err != nil {
		if u, ok := err.(*url.Error); ok {
			return u.Err // its address has secrets in it
		}
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &oauth2.RetrieveError{Response: resp, Body: body, ErrorDescription: resp.Status}
	}
	return json.Unmarshal(body, into)
}
