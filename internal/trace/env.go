package trace

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// Option changes what FromEnv does.
type Option func(*settings)

// Version names the program's version in traces.
func Version(v string) Option { return func(s *settings) { s.version = v } }

// OnError is told when spans could not be delivered; they are lost then. It is called by a goroutine of the exporter, and must not block for long. Without it
// nobody is told.
func OnError(fn func(error)) Option { return func(s *settings) { s.onError = fn } }

// OnPlain is asked about an endpoint over plain http, with the variable that names it, before anything is sent there. Its problem, where there is one, is that
// variable's.
func OnPlain(fn func(name, endpoint string) (problem, cure string)) Option {
	return func(s *settings) { s.onPlain = fn }
}

// settings are what the variables say.
type settings struct {
	version string
	onError func(error)
	onPlain func(name, endpoint string) (problem, cure string)

	endpoint *url.URL
	headers  map[string]string
	timeout  time.Duration
	gzip     bool
	tls      *tls.Config
	sampler  sdk.Sampler
	resource []attribute.KeyValue

	delay, export  time.Duration
	queue, batches int
}

// VarError is a variable that cannot be followed. It does not repeat values that may hold secrets.
type VarError struct{ Name, Problem, Cure string }

func (e *VarError) Error() string { return fmt.Sprintf("%s %s; %s", e.Name, e.Problem, e.Cure) }

// FromEnv starts tracing where the standard variables of OpenTelemetry ask for it, by naming an exporter or an endpoint, and otherwise gives an observer that
// does nothing. environ is as os.Environ gives it. shutdown delivers what is left, until its context ends, and must be called.
func FromEnv(environ []string, opts ...Option) (o observe.Observer, shutdown func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	s := &settings{onError: func(error) {}}
	for _, opt := range opts {
		opt(s)
	}
	on, err := s.read(vars(environ))
	if err != nil || !on {
		return observe.Discard, nothing, err
	}
	t, shutdown, err := s.start()
	if err != nil {
		return observe.Discard, nothing, err
	}
	return t, shutdown, nil
}

// start makes the exporter, the processor and the tracer.
func (s *settings) start() (*tracer, func(context.Context) error, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = s.tls
	transport.MaxResponseHeaderBytes = 64 << 10
	client := &http.Client{
		Transport: transport, Timeout: s.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the headers are for this host
	}
	compression := otlptracehttp.NoCompression
	if s.gzip {
		compression = otlptracehttp.GzipCompression
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(s.endpoint.String()), otlptracehttp.WithHeaders(s.headers),
		otlptracehttp.WithCompression(compression), otlptracehttp.WithHTTPClient(client), otlptracehttp.WithTimeout(s.timeout),
		otlptracehttp.WithMaxResponseSize(1<<20))
	if err != nil {
		return nil, nil, err
	}
	quiet := &reporting{SpanExporter: exporter, tell: s.onError, secrets: slices.Collect(maps.Values(s.headers))}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(quiet, sdk.WithBatchTimeout(s.delay), sdk.WithExportTimeout(s.export), sdk.WithMaxQueueSize(s.queue), sdk.WithMaxExportBatchSize(s.batches)),
		sdk.WithSampler(s.sampler), sdk.WithResource(resource.NewSchemaless(s.resource...)),
	)
	shutdown := func(ctx context.Context) error {
		before := quiet.failures.Load()
		err := provider.Shutdown(ctx)
		transport.CloseIdleConnections()
		if err == nil && quiet.failures.Load() > before {
			err = errors.New("the last spans could not be delivered")
		}
		return err
	}
	return newTracer(provider.Tracer("adsync")), shutdown, nil
}

// reporting tells of failures to deliver instead of printing them.
type reporting struct {
	sdk.SpanExporter
	tell     func(error)
	secrets  []string
	failures atomic.Int64
}

// ExportSpans implements the SDK's SpanExporter.
func (r *reporting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := r.SpanExporter.ExportSpans(ctx, spans); err != nil {
		r.failures.Add(1)
		msg := err.Error()
		for _, s := range r.secrets { // a collector may give them back
			if len(s) >= 4 {
				msg = strings.ReplaceAll(msg, s, "***")
			}
		}
		r.tell(fmt.Errorf("%d spans could not be delivered: %s", len(spans), ads.Printable(msg, 400)))
	}
	return nil
}

func vars(environ []string) map[string]string {
	out := make(map[string]string, len(environ))
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, "OTEL_") {
			out[k] = strings.TrimSpace(v) // an empty one is as good as none, says the standard
		}
	}
	return out
}

// read takes in the variables. It reports whether there is to be tracing at all.
func (s *settings) read(v map[string]string) (on bool, err error) {
	if strings.EqualFold(v["OTEL_SDK_DISABLED"], "true") {
		return false, nil
	}
	either := func(name string) (string, string) { // the one for traces comes before the general one
		for _, n := range []string{"OTEL_EXPORTER_OTLP_TRACES_" + name, "OTEL_EXPORTER_OTLP_" + name} {
			if v[n] != "" {
				return n, v[n]
			}
		}
		return "OTEL_EXPORTER_OTLP_" + name, ""
	}
	name, endpoint := either("ENDPOINT")
	switch e := strings.ToLower(v["OTEL_TRACES_EXPORTER"]); {
	case e == "none" || e == "" && endpoint == "":
		return false, nil
	case e != "otlp" && e != "":
		return false, &VarError{"OTEL_TRACES_EXPORTER", fmt.Sprintf("names an exporter that is not in this build (%q)", text(e)), "write otlp or none"}
	}
	if name, p := either("PROTOCOL"); p != "" && p != "http/protobuf" {
		return false, &VarError{name, fmt.Sprintf("asks for %q", text(p)), "write http/protobuf: traces go out by OTLP over HTTP"}
	}
	if s.endpoint, err = endpointOf(name, endpoint); err != nil {
		return false, err
	}
	if s.onPlain != nil && s.endpoint.Scheme == "http" {
		if problem, cure := s.onPlain(name, s.endpoint.String()); problem != "" {
			return false, &VarError{name, problem, cure}
		}
	}
	name, pairs := either("HEADERS")
	if s.headers, err = pairsOf(name, pairs); err != nil {
		return false, err
	}
	name, ms := either("TIMEOUT")
	if s.timeout, err = millis(name, ms, 10*time.Second); err != nil {
		return false, err
	}
	switch name, c := either("COMPRESSION"); c {
	case "", "none":
	case "gzip":
		s.gzip = true
	default:
		return false, &VarError{name, fmt.Sprintf("asks for %q", text(c)), "write gzip or none"}
	}
	if err := s.readTLS(either); err != nil {
		return false, err
	}
	if err := s.readBatches(v); err != nil {
		return false, err
	}
	if s.sampler, err = samplerOf(v["OTEL_TRACES_SAMPLER"], v["OTEL_TRACES_SAMPLER_ARG"]); err != nil {
		return false, err
	}
	return true, s.readResource(v)
}

// endpointOf is where spans go. A general endpoint is a base.
func endpointOf(name, value string) (*url.URL, error) {
	u, err := url.Parse(cmp.Or(value, "http://localhost:4318"))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, &VarError{name, "is no URL", "write http://host:4318 or https://host:4318"}
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, &VarError{name, "has credentials or a query in it", "put what the collector wants to know into OTEL_EXPORTER_OTLP_HEADERS"}
	}
	if !strings.Contains(name, "TRACES") {
		u = u.JoinPath("v1", "traces")
	} else if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// pairsOf reads "key=value,key2=value2", percent-encoded. Values may be secrets.
func pairsOf(name, s string) (map[string]string, error) {
	out := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		k, v, ok := strings.Cut(part, "=")
		key, kerr := url.PathUnescape(strings.TrimSpace(k))
		value, verr := url.PathUnescape(strings.TrimSpace(v))
		if !ok || kerr != nil || verr != nil || key == "" || strings.ContainsAny(key+value, "\r\n\x00") {
			return nil, &VarError{name, "is no list of key=value", "write key=value,key2=value2 with percent-encoded values"}
		}
		out[key] = value
	}
	return out, nil
}

func millis(name, s string, def time.Duration) (time.Duration, error) {
	n, err := number(name, s, int(def/time.Millisecond))
	return time.Duration(n) * time.Millisecond, err
}

func number(name, s string, def int) (int, error) {
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1<<30 {
		return 0, &VarError{name, fmt.Sprintf("is no positive whole number (%q)", text(s)), fmt.Sprintf("write one such as %d", def)}
	}
	return n, nil
}

func (s *settings) readTLS(either func(string) (string, string)) error {
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if name, file := either("CERTIFICATE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return &VarError{name, "names a file that cannot be read: " + text(err.Error()), "name the PEM file of the authority that signed the collector's certificate"}
		}
		s.tls.RootCAs = x509.NewCertPool()
		if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
			return &VarError{name, "names a file without a certificate", "name the PEM file of the authority that signed the collector's certificate"}
		}
	}
	name, cert := either("CLIENT_CERTIFICATE")
	keyName, key := either("CLIENT_KEY")
	if cert == "" && key == "" {
		return nil
	}
	if cert == "" || key == "" {
		return &VarError{name + " and " + keyName, "belong together", "name a PEM file in both"}
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return &VarError{name + " and " + keyName, "cannot be used: " + text(err.Error()), "name PEM files that belong together"}
	}
	s.tls.Certificates = []tls.Certificate{pair}
	return nil
}

func (s *settings) readBatches(v map[string]string) (err error) {
	if s.delay, err = millis("OTEL_BSP_SCHEDULE_DELAY", v["OTEL_BSP_SCHEDULE_DELAY"], 5*time.Second); err != nil {
		return err
	}
	if s.export, err = millis("OTEL_BSP_EXPORT_TIMEOUT", v["OTEL_BSP_EXPORT_TIMEOUT"], 30*time.Second); err != nil {
		return err
	}
	if s.queue, err = number("OTEL_BSP_MAX_QUEUE_SIZE", v["OTEL_BSP_MAX_QUEUE_SIZE"], 2048); err != nil {
		return err
	}
	if s.batches, err = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", v["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 512); err != nil {
		return err
	}
	if s.queue > 1<<20 {
		return &VarError{"OTEL_BSP_MAX_QUEUE_SIZE", "is too large", "write 1048576 at most: each span takes about a kilobyte"}
	}
	s.batches = min(s.batches, s.queue)
	return nil
}

// samplerOf decides by whole runs: what happens within a run follows it.
func samplerOf(name, arg string) (sdk.Sampler, error) {
	base := sdk.AlwaysSample()
	kind := strings.TrimPrefix(cmp.Or(name, "parentbased_always_on"), "parentbased_")
	switch kind {
	case "always_on":
	case "always_off":
		base = sdk.NeverSample()
	case "traceidratio":
		share := 1.0
		if arg != "" {
			var err error
			if share, err = strconv.ParseFloat(arg, 64); err != nil || !(share >= 0 && share <= 1) {
				return nil, &VarError{"OTEL_TRACES_SAMPLER_ARG", fmt.Sprintf("is no share (%q)", text(arg)), "write a number from 0 to 1, such as 0.1 for a tenth of the runs"}
			}
		}
		base = sdk.TraceIDRatioBased(share)
	default:
		return nil, &VarError{
			"OTEL_TRACES_SAMPLER", fmt.Sprintf("names a sampler that is not in this build (%q)", text(name)),
			"write always_on, always_off or traceidratio, with parentbased_ before it or not",
		}
	}
	return sdk.ParentBased(base), nil
}

func (s *settings) readResource(v map[string]string) error {
	attrs, err := pairsOf("OTEL_RESOURCE_ATTRIBUTES", v["OTEL_RESOURCE_ATTRIBUTES"])
	if err != nil {
		return err
	}
	if attrs["service.name"] == "" {
		attrs["service.name"] = "adsync"
	}
	if name := v["OTEL_SERVICE_NAME"]; name != "" {
		attrs["service.name"] = name
	}
	if _, ok := attrs["service.version"]; !ok && s.version != "" {
		attrs["service.version"] = s.version
	}
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		s.resource = append(s.resource, attribute.String(k, attrs[k]))
	}
	return nil
}
