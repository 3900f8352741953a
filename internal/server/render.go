package server

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// policy lets pages have what this server serves, and nothing else: no script or style within a page, no other host, no frame around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// buildMark changes with the assets, so that browsers keep them for as long as they are the same.
var buildMark = func() string {
	h := sha256.New()
	_ = fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := assetFiles.ReadFile(name)
		h.Write(b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:12]
}()

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"number": number, "relative": relative, "absolute": absolute, "span": span, "shown": shown, "money": money,
	"asset":   func(name string) string { return "/assets/" + buildMark + "/" + name },
	"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"act": func(csrf, do, label string, ref ads.Ref, back string) map[string]any {
		return map[string]any{"CSRF": csrf, "Do": do, "Label": label, "Ref": ref, "Back": back}
	},
	"bulk": func(csrf, do, label string, v failuresView) map[string]any {
		return map[string]any{"CSRF": csrf, "Do": do, "Label": label, "V": v}
	},
	"outcome": func(r *store.RunRecord) string {
		return cmp.Or(string(r.Outcome), "not ended")
	},
	"figure": figure, "connectionURL": connectionURL,
	"long":    func(s string) string { return ads.Printable(s, 1000) },
	"percent": func(f float64) int { return int(f * 100) },
}).ParseFS(templateFiles, "templates/*.html"))

// page is what every page has around its own part.
type page struct {
	Title string
	Nav   string
	CSRF  string
	// LoggedIn: there is a session that can be ended.
	LoggedIn bool
	Charts   bool   // the page draws some
	Note     string // what became of an action
	Now      time.Time
	Body     any
}

// show renders a page in whole before its first byte goes out: nobody sees half of one.
func (s *Server) show(w http.ResponseWriter, r *http.Request, code int, name string, p page) {
	var b bytes.Buffer
	p.CSRF, p.LoggedIn = s.access.csrf(w, r), s.access.session(r) != nil
	if p.Now.IsZero() {
		p.Now = time.Now()
	}
	if err := templates.ExecuteTemplate(&b, name, p); err != nil {
		s.o.Log.Error("a page could not be made: " + err.Error())
		plain(w, http.StatusInternalServerError, "This page could not be made; the log says why.")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = b.WriteTo(w)
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.PathValue("name"))
	b, err := assetFiles.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if r.PathValue("mark") == buildMark {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}
