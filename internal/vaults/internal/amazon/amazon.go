// Package amazon reads secrets from AWS Secrets Manager by the vendor's SDK, with the SDK's own chain of credentials: variables, shared
// files, web identity, single sign-on, containers and instances.
//
// The SDK's retries are switched off: they are the keeper's.
package amazon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/secret"
	"adsync/internal/vaults/internal/source"
)

// Store is AWS Secrets Manager, in as many regions as references name. It asks nobody before Fetch.
type Store struct {
	set    config.AWS
	getenv func(string) string

	turn    chan struct{} // who holds it may use what follows
	base    *aws.Config   // nil until it is needed, and after credentials were refused
	clients map[string]*secretsmanager.Client
	idle    []*http.Transport
	mu      sync.Mutex // of idle
}

// New gives the store that the settings and the AWS_ variables name.
func New(s config.Secrets) *Store {
	return &Store{set: s.AWS, getenv: s.Getenv, turn: make(chan struct{}, 1)}
}

const form = "write aws:NAME, aws:NAME#KEY, or an ARN of Secrets Manager in place of the name"

// isRegion, isName and isStage know the characters that AWS allows.
func isRegion(s string) bool { return source.Of(s, 40, "-") }
func isName(s string) bool   { return source.Of(s, 520, "/_+=.@-") }
func isStage(s string) bool  { return source.Of(s, 256, "_.@/:+=-") }

// regionOf gives the region that the ARN of a secret names; empty where it is none.
func regionOf(arn string) string {
	p := strings.SplitN(arn, ":", 7)
	if len(p) != 7 || p[0] != "arn" || !strings.HasPrefix(p[1], "aws") || !source.Of(p[1], 20, "-") || p[2] != "secretsmanager" || !isRegion(p[3]) ||
		len(p[4]) != 12 || strings.Trim(p[4], "0123456789") != "" || p[5] != "secret" || !isName(p[6]) {
		return ""
	}
	return p[3]
}

// wanted is a reference taken apart.
type wanted struct{ id, region, stage, version string }

// Parse reads NAME or ARN, ?stage=… or ?version=…, and #KEY.
func (s *Store) Parse(ref string) (source.Reference, error) {
	doc, key, err := source.Cut(ref)
	if err != nil {
		return source.Reference{}, err
	}
	if _, err := parse(doc); err != nil {
		return source.Reference{}, err
	}
	return source.Reference{Doc: doc, Key: key}, nil
}

func parse(doc string) (w wanted, err error) {
	id, query, has := strings.Cut(doc, "?")
	w.id = id
	switch {
	case strings.HasPrefix(id, "arn:"):
		if w.region = regionOf(id); w.region == "" {
			return w, source.Malformed("begins like an ARN, and is none of a secret of Secrets Manager", form)
		}
	case !isName(id):
		return w, source.Malformed("does not hold the name of a secret", form)
	}
	if !has {
		return w, nil
	}
	what, value, _ := strings.Cut(query, "=")
	switch {
	case what == "stage" && isStage(value):
		w.stage = value
	case what == "version" && isStage(value):
		w.version = value
	default:
		return w, source.Malformed("has something behind ? that is neither a stage nor a version", "write aws:NAME?stage=AWSPREVIOUS or aws:NAME?version=ID, or leave it away for the current one")
	}
	return w, nil
}

// Fetch reads one secret.
func (s *Store) Fetch(ctx context.Context, doc string) (*source.Document, error) {
	w, err := parse(doc)
	if err != nil {
		return nil, err
	}
	c, region, creds, err := s.client(ctx, w.region)
	if err != nil {
		return nil, err
	}
	in := &secretsmanager.GetSecretValueInput{SecretId: aws.String(w.id)}
	if w.stage != "" {
		in.VersionStage = aws.String(w.stage)
	}
	if w.version != "" {
		in.VersionId = aws.String(w.version)
	}
	ctx, answer := source.Watch(ctx)
	out, err := c.GetSecretValue(ctx, in)
	if err != nil {
		e := s.failure("AWS Secrets Manager in "+region, err, answer, creds)
		if e.Kind == source.Expired || e.Kind == source.LoginRefused {
			s.forget()
		}
		return nil, e
	}
	text := out.SecretBinary
	if out.SecretString != nil {
		text = []byte(*out.SecretString)
	}
	if !utf8.Valid(text) {
		return nil, &source.Error{Kind: source.BadAnswer, Message: "what is kept there is not a text", Hint: "store the secret as a text"}
	}
	return source.Whole(text), nil
}

// client gives a client for a region (empty: the configured one) and the credentials that it signs with.
func (s *Store) client(ctx context.Context, region string) (*secretsmanager.Client, string, aws.Credentials, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, "", aws.Credentials{}, source.Network("AWS", ctx.Err(), "others are logging in at the same time; run again")
	}
	if s.base == nil {
		cfg, err := s.load(ctx)
		if err != nil {
			return nil, "", aws.Credentials{}, err
		}
		s.base, s.clients = cfg, map[string]*secretsmanager.Client{}
	}
	if region == "" {
		region = s.base.Region
	}
	if !isRegion(region) {
		return nil, "", aws.Credentials{}, &source.Error{Kind: source.Misconfigured, Message: "no region of AWS is known", Hint: "set AWS_REGION or secrets: aws: region:, or refer to the secret by its ARN"}
	}
	creds, err := s.base.Credentials.Retrieve(ctx)
	if err != nil {
		s.base = nil // read anew: files may change
		return nil, "", creds, noCredentials(ctx, err)
	}
	c := s.clients[region]
	if c == nil {
		c = secretsmanager.NewFromConfig(*s.base, func(o *secretsmanager.Options) {
			o.Region = region
			if url := cmp.Or(s.env("AWS_ENDPOINT_URL_SECRETS_MANAGER"), s.env("AWS_ENDPOINT_URL")); url != "" && !s.ignoresEndpoints() {
				o.BaseEndpoint = aws.String(url)
			}
		})
		s.clients[region] = c
	}
	return c, region, creds, nil
}

// env gives a variable that only adsync sees, from the .env file. What is in the environment the SDK reads by itself, and in its own order.
func (s *Store) env(name string) string {
	if _, set := os.LookupEnv(name); set {
		return ""
	}
	return s.getenv(name)
}

func (s *Store) ignoresEndpoints() bool {
	ignore, err := strconv.ParseBool(s.getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))
	return err == nil && ignore
}

// load reads the SDK's configuration. It asks nobody.
func (s *Store) load(ctx context.Context) (*aws.Config, error) {
	base := awshttp.NewBuildableClient().WithTransportOptions(source.Bound).WithDialerOptions(func(d *net.Dialer) { d.Timeout = source.DialWithin })
	opts := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(base),
		awsconfig.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		awsconfig.WithLogger(logging.Nop{}),
		awsconfig.WithLogConfigurationWarnings(false),
	}
	if region := cmp.Or(s.set.Region, s.env("AWS_REGION"), s.env("AWS_DEFAULT_REGION")); region != "" {
		opts = append(opts, awsconfig.WithRegion(region))
	}
	profile := cmp.Or(s.set.Profile, s.env("AWS_PROFILE"))
	if profile != "" {
		opts = append(opts, awsconfig.WithSharedConfigProfile(profile))
	}
	if name := s.env("AWS_CONFIG_FILE"); name != "" {
		opts = append(opts, awsconfig.WithSharedConfigFiles([]string{name}))
	}
	if name := s.env("AWS_SHARED_CREDENTIALS_FILE"); name != "" {
		opts = append(opts, awsconfig.WithSharedCredentialsFiles([]string{name}))
	}
	if id, key := s.env("AWS_ACCESS_KEY_ID"), s.env("AWS_SECRET_ACCESS_KEY"); id != "" && key != "" && s.set.Profile == "" {
		opts = append(opts, awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(id, key, s.env("AWS_SESSION_TOKEN"))))
	}
	if off, err := strconv.ParseBool(s.env("AWS_EC2_METADATA_DISABLED")); err == nil && off {
		opts = append(opts, awsconfig.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		e := &source.Error{Kind: source.Misconfigured, Message: "the configuration for AWS cannot be read", Hint: "check the AWS_ variables and the shared configuration files"}
		if _, ok := errors.AsType[awsconfig.SharedConfigProfileNotExistError](err); ok {
			e.Message, e.Hint = "the shared configuration files for AWS have no profile "+ads.Printable(profile, 100), "check AWS_PROFILE, or secrets: aws: profile:"
		}
		return nil, e
	}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok { // it may have been given authorities on the way
		t := b.GetTransport()
		cfg.HTTPClient = &http.Client{Transport: source.Transport{Base: t}, CheckRedirect: source.Stay}
		s.mu.Lock()
		for _, old := range s.idle {
			old.CloseIdleConnections()
		}
		s.idle = []*http.Transport{t}
		s.mu.Unlock()
	}
	return &cfg, nil
}

// forget has the configuration and the credentials read anew the next time: they may have been changed.
func (s *Store) forget() {
	s.turn <- struct{}{} // whoever has it is bounded by its own context
	s.base = nil
	<-s.turn
}

// Close lets go of connections.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.idle {
		t.CloseIdleConnections()
	}
}

// noCredentials explains why there is nothing to sign with. Of a refusal only its code is told: credentials may be a part of its words.
func noCredentials(ctx context.Context, err error) *source.Error {
	if ctx.Err() != nil {
		return source.Network("AWS", ctx.Err(), "what gives out credentials does not answer")
	}
	// An instance is asked last of all, on any machine: that it does not answer says only that nothing else was found.
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok && !strings.Contains(err.Error(), "EC2 IMDS") {
		return source.Network("what gives out AWS's credentials", err, "check the region, and what stands between (proxy, firewall)")
	}
	e := &source.Error{Kind: source.LoginRefused, Message: "there are no credentials for AWS", Hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or run where a role is given"}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		e.Message = "AWS gives no credentials: " + ads.Printable(api.ErrorCode(), 80)
		e.Hint = "check the role, its trust policy, and the token or profile that is used for it"
		if re, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && (re.HTTPStatusCode() >= 500 || re.HTTPStatusCode() == http.StatusTooManyRequests) {
			e.Kind, e.Status = source.Unavailable, re.HTTPStatusCode()
		}
	}
	return e
}

// failure makes an error of ours from one of the SDK's.
func (s *Store) failure(where string, err error, answer *source.Answer, creds aws.Credentials) *source.Error {
	api, ok := errors.AsType[smithy.APIError](err)
	status := answer.Status()
	switch {
	case status >= 300 && status < 400:
		return &source.Error{Kind: source.Misconfigured, Status: status, Message: where + " sends its callers elsewhere, and what is signed goes to no host that was not named", Hint: "check AWS_REGION and AWS_ENDPOINT_URL_SECRETS_MANAGER"}
	case !ok && status == 0:
		return source.Network(where, err, "check the region, AWS_ENDPOINT_URL_SECRETS_MANAGER, and what stands between (proxy, firewall)")
	case !ok && status >= 200 && status < 300:
		return &source.Error{Kind: source.BadAnswer, Status: status, Message: where + " gave an answer that is not Secrets Manager's", Hint: "check AWS_ENDPOINT_URL_SECRETS_MANAGER, and what stands between"}
	case !ok && status >= 400 && status < 500 && status != http.StatusTooManyRequests:
		return &source.Error{Kind: source.BadAnswer, Status: status, Message: fmt.Sprintf("%s refuses the request (HTTP %d), in words that are not Secrets Manager's", where, status), Hint: "check AWS_ENDPOINT_URL_SECRETS_MANAGER, and what stands between"}
	case !ok:
		return source.Server(where, status, "", answer.Wait())
	}
	code := ads.Printable(api.ErrorCode(), 80)
	said := source.Said(api.ErrorMessage(), secret.New(creds.SecretAccessKey), secret.New(creds.SessionToken), secret.New(creds.AccessKeyID))
	says := func(kind source.Kind, hint string) *source.Error {
		m := where + " says " + code
		if said != "" {
			m += ": " + said
		}
		return &source.Error{Kind: kind, Status: status, Message: m, Hint: hint}
	}
	switch code {
	case "ResourceNotFoundException":
		return says(source.NoSecret, "check name, region and account; a version or stage must exist too")
	case "AccessDeniedException", "AccessDenied":
		return says(source.Denied, "the identity must be allowed secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key")
	case "DecryptionFailure":
		return says(source.Denied, "the identity must be allowed kms:Decrypt on the secret's key, and the key must be enabled")
	case "ExpiredTokenException", "ExpiredToken", "RequestExpired":
		return says(source.Expired, "get new credentials (aws sso login, or whatever gives them); check this machine's clock")
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature", "OptInRequired":
		return says(source.LoginRefused, "check the credentials, the region, and this machine's clock")
	case "InvalidRequestException":
		return says(source.NoSecret, "the secret may be marked for deletion: restore it, or refer to another")
	case "InvalidParameterException", "ValidationException":
		return says(source.BadReference, "check the reference")
	case "ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown":
		e := source.Server(where, http.StatusTooManyRequests, code, answer.Wait())
		e.Status = status
		return e
	}
	if status >= 500 || status == http.StatusTooManyRequests {
		return source.Server(where, status, code, answer.Wait())
	}
	return says(source.BadAnswer, "check the reference, and what stands between")
}
