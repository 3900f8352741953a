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
	"sync"
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

// journal is a log that handlers write and a test reads.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// taken gives what was written since it was last asked.
func (j *journal) taken() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.b.Reset()
	return j.b.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// soundLog checks that the log has an id and where the bug is, and no value.
func soundLog(t *testing.T, log, said string) {
	t.Helper()
	id := internalID.FindStringSubmatch(said)
	if id == nil || !strings.Contains(log, id[0]) || !strings.Contains(log, "board_test.go:") {
		t.Errorf("the log does not say where %q is from:\n%s", said, log)
	}
	if strings.Contains(log+said, "hunter2") {
		t.Errorf("a value came out: %s\n%s", said, log)
	}
}

func TestPanicOfTheDatabaseIsAnError(t *testing.T) {
	var b board
	var log journal
	got, err := b.read(t.Context(), clumsy{}, log.logger())
	if err == nil || got != nil {
		t.Fatalf("%v, %v", got, err)
	}
	soundLog(t, log.taken(), err.Error())
}

// Every page answers 500 with an id when the database's code panics, in whatever goroutine that is, and the server goes on.
func TestPanicsAreAnswered(t *testing.T) {
	var log journal
	b := newBed(t, "acme")
	b.srv.o.Store = clumsy{b.st}
	b.srv.o.Log = log.logger()
	for _, path := range []string{"/", "/rows", "/c/acme/adplatform", "/api/v1/status"} {
		code, body, h := b.get(path)
		if code != http.StatusInternalServerError {
			t.Errorf("%s: %d\n%s", path, code, body)
		}
		if api := strings.HasPrefix(path, "/api/"); api != (h.Get("Content-Type") == "application/json") {
			t.Errorf("%s: %s", path, h.Get("Content-Type"))
		}
		soundLog(t, log.taken(), body)
	}
	if code, _, _ := b.get("/healthz"); code != http.StatusOK {
		t.Errorf("afterwards: %d", code)
	}
	b.srv.o.Store = b.st
	b.page("/", "acme")
}

// A half-written answer is broken off: its reader must not take it for whole.
func TestPanicInTheMiddleBreaksOff(t *testing.T) {
	var log journal
	s := &Server{o: Options{Log: log.logger()}}
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
	all := log.taken()
	soundLog(t, all, all)
}
