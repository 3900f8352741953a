package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

const (
	maxReason  = 300 // characters
	perMessage = 20  // troubles in one message
)

// message is what a webhook gets: text for people, and the same in fields for programs. Attachments with fields are what Slack, Mattermost and Rocket.Chat have
// in common.
type message struct {
	Text        string       `json:"text"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	Color    string  `json:"color"`
	Fallback string  `json:"fallback"`
	Fields   []field `json:"fields"`
	TS       int64   `json:"ts"`
}

type field struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

// The events of a notice.
const (
	began     = "trouble"
	reminder  = "reminder"
	recovered = "recovered"
)

func eventOf(x store.Notice) string {
	switch {
	case !x.EndedAt.IsZero():
		return recovered
	case !x.ToldAt.IsZero():
		return reminder
	}
	return began
}

// words are what is the matter, and what to do.
var words = map[string]struct{ is, was, hint string }{
	Failing:      {"fails", "works again", "It is tried again by itself, later and later; what was written stays."},
	Refused:      {"had its credentials refused", "logs in again", "Correct them where the configuration says that they are kept: they are tried by themselves once they have changed."},
	Partial:      {"ended partial", "is complete again", "adsync failures list has the records, and what to do about each."},
	Disagreement: {"lists what does not add up", "adds up again", "The platform contradicts itself. If it stays so, ask its support about the figures in the reason."},
	Stale:        {"is stale", "is fresh again", "See what its runs say. A schedule may ask for more than the quota allows."},
}

// newMessage puts notices into one message, at most perMessage of them.
func newMessage(xs []store.Notice, platforms map[ads.Ref]string, now time.Time) message {
	var m message
	for _, x := range xs {
		line := sentence(x)
		m.Attachments = append(m.Attachments, attachment{
			Color: map[string]string{began: "danger", reminder: "warning", recovered: "good"}[eventOf(x)], Fallback: line, Fields: fields(x, platforms[x.Ref]), TS: now.Unix(),
		})
		if m.Text != "" {
			m.Text += "\n"
		}
		m.Text += line
	}
	m.Text = "adsync: " + m.Text
	return m
}

func sentence(x store.Notice) string {
	w := words[x.Trouble]
	name := said(x.Ref.ClientID) + " / " + said(x.Ref.Connection)
	switch eventOf(x) {
	case recovered:
		return fmt.Sprintf("%s %s, after %s", name, w.was, span(x.EndedAt.Sub(x.Since)))
	case reminder:
		return fmt.Sprintf("%s still %s, since %s: %s", name, w.is, clock(x.Since), said(x.Reason))
	}
	return fmt.Sprintf("%s %s: %s", name, w.is, said(x.Reason))
}

func fields(x store.Notice, platform string) []field {
	fs := []field{
		{"event", eventOf(x), true},
		{"trouble", x.Trouble, true},
		{"client", plain(x.Ref.ClientID), true},
		{"connection", plain(x.Ref.Connection), true},
		{"platform", plain(platform), true},
		{"since", x.Since.UTC().Format(time.RFC3339), true},
	}
	if !x.EndedAt.IsZero() {
		return append(fs, field{"ended", x.EndedAt.UTC().Format(time.RFC3339), true})
	}
	return append(fs, field{"reason", plain(x.Reason), false}, field{"next", words[x.Trouble].hint, false})
}

// escaped is how such chats want their own signs of markup: without it, a name could call everybody or hide a link.
var escaped = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// plain is text from outside for a field, exact but for that.
func plain(s string) string { return escaped.Replace(ads.Printable(s, maxReason)) }

// said is the same for a sentence, where some chats would call who is named after an @.
func said(s string) string { return strings.ReplaceAll(plain(s), "@", "@\u200b") }

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func span(d time.Duration) string {
	pair := func(a, b int, x, y string) string {
		if b == 0 {
			return strconv.Itoa(a) + " " + x
		}
		return strconv.Itoa(a) + " " + x + " " + strconv.Itoa(b) + " " + y
	}
	switch d = d.Abs(); {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return pair(int(d.Hours()), int(d.Minutes())%60, "h", "min")
	}
	return pair(int(d.Hours())/24, int(d.Hours())%24, "d", "h")
}
