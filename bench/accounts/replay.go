package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// request is one that adsync made.
type request struct {
	method, uri string
	header      http.Header
	body        []byte
}

// recorder stands between a run and its platform and notes the requests.
type recorder struct {
	url   string
	close func()

	mu       sync.Mutex
	requests []request
}

func newRecorder(target string) (*recorder, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	r := &recorder{}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(u) }, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
		w.WriteHeader(http.StatusBadGateway)
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.mu.Lock()
		r.requests = append(r.requests, request{q.Method, q.URL.RequestURI(), q.Header.Clone(), body})
		r.mu.Unlock()
		proxy.ServeHTTP(w, q)
	}))
	r.url, r.close = s.URL, s.Close
	return r, nil
}

// loop sends noted requests again, several at once, in the order in which they came.
type loop struct {
	url      string
	requests []request
	atOnce   int
	client   *http.Client
	bytes    int64 // of the last round, as they came over the wire
}

func newLoop(url string, requests []request, atOnce int) *loop {
	return &loop{url: url, requests: requests, atOnce: atOnce, client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: atOnce, MaxConnsPerHost: atOnce, DisableCompression: true, // what was noted says what is asked for
	}}}
}

func (l *loop) run(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, size atomic.Int64
	var workers sync.WaitGroup
	begin := time.Now()
	for range l.atOnce {
		workers.Go(func() {
			buf := make([]byte, 64<<10)
			for ctx.Err() == nil {
				at := int(next.Add(1)) - 1
				if at >= len(l.requests) {
					return
				}
				n, err := l.send(ctx, &l.requests[at], buf)
				if err != nil {
					cancel(err)
					return
				}
				size.Add(n)
			}
		})
	}
	workers.Wait()
	took := time.Since(begin)
	l.bytes = size.Load()
	return took, context.Cause(ctx)
}

func (l *loop) send(ctx context.Context, q *request, buf []byte) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, l.url+q.uri, bytes.NewReader(q.body))
	if err != nil {
		return 0, err
	}
	r.Header = q.header
	resp, err := l.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
	if err == nil && resp.StatusCode >= 400 {
		err = fmt.Errorf("%s %s: %s", q.method, r.URL.Path, resp.Status)
	}
	return n, err
}
