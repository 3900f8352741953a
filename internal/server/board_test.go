package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"adsync/internal/store"
)

// clumsy is a database whose code panics, with a value that holds a secret.
type clumsy struct{ store.Store }

func (clumsy) Status(context.Context) ([]store.ConnectionStatus, error) {
	panic("no place for hunter2")
}

// internalID finds the id of a caught bug.
var internalID = regexp.MustCompile(`internal error ([0-9a-f]{8})`)

// soundLog checks that the log has an id and where the bug is, and no value.
func soundLog(t *testing.T, log *bytes.Buffer, said string) {
	t.Helper()
	id := internalID.FindStringSubmatch(said)
	if id == nil || !strings.Contains(log.String(), id[0]) || !strings.Contains(log.String(), "board_test.go:") {
		t.Errorf("the log does not say where %q is from:\n%s", said, log)
	}
	if strings.Contains(log.String()+said, "hunter2") {
		t.Errorf("a value came out: %s\n%s", said, log)
	}
}

func TestPanicOfTheDatabaseIsAnError(t *testing.T) {
	var b board
	var log bytes.Buffer
	got, err := b.read(t.Context(), clumsy{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err == nil || got != nil {
		t.Fatalf("%v, %v", got, err)
	}
	soundLog(t, &log, err.Error())
}

// Every page answers 500 with an id when the database's code panics, in whatever goroutine that is, and the server goes on.
func TestPanicsAreAnswered(t *testing.T) {
	var log bytes.Buffer
	b := newBed(t, "acme")
	b.srv.o.Store = clumsy{b.st}
	b.srv.o.Log = slog.New(slog.NewTextHandler(&log, nil))
	for _, path := range []string{"/", "/rows", "/c/acme/adplatform", "/api/v1/status"} {
		log.Reset()
		code, body, h := b.get(path)
		if code != http.StatusInternalServerError {
			t.Errorf("%s: %d\n%s", path, code, body)
		}
		if api := strings.HasPrefix(path, "/api/"); api != (h.Get("Content-Type") == "application/json") {
			t.Errorf("%s: %s", path, h.Get("Content-Type"))
		}
		soundLog(t, &log, body)
	}
	if code, _, _ := b.get("/healthz"); code != http.StatusOK {
		t.Errorf("afterwards: %d", code)
	}
	b.srv.o.Store = b.st
	b.page("/", "acme")
}

// A half-written answer is broken off: its reader must not take it for whole.
func TestPanicInTheMiddleBreaksOff(t *testing.T) {
	var log bytes.Buffer
	s := &Server{o: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}
	web := httptest.NewServer(s.guarded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		_ = http.NewResponseController(w).Flush()
		panic("hunter2")
	})))
	defer web.Close()
	res, err := http.Get(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%q was taken for whole", body)
	}
	soundLog(t, &log, log.String())
}
