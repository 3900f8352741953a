package googleads

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

func badReply(endpoint, code, format string, args ...any) error {
	return &ads.Error{Class: ads.ClassBadReply, Code: code, Endpoint: endpoint, Message: fmt.Sprintf(format, args...)}
}

// page is an answer to search, or all chunks of one to searchStream.
type page struct {
	rows  []jsontext.Value // parts of the body, which is theirs
	next  string
	total ads.Opt[int64]
}

// maxToken bounds a page token: it is kept with the place reached.
const maxToken = 8 << 10

// parsePage reads an answer to search. No rows are no results key; so that nothing else looks like an empty listing, the answer must have another key of one.
func parsePage(r platform.Reply) (page, error) {
	bad := func(format string, args ...any) (page, error) {
		return page{}, badReply(r.Endpoint, "shape", format, args...)
	}
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return bad("the answer has no body (status %d)", r.Status)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(r.Body), loose)
	if dec.PeekKind() != '{' {
		return bad("the answer is not an object with results (%s)", bodyKind(r))
	}
	var p page
	known, err := p.read(dec, r.Body)
	if err == nil {
		err = ended(dec)
	}
	switch {
	case err != nil:
		return bad("the answer cannot be read (%s): %s", bodyKind(r), reason(err))
	case !known:
		return bad("the answer has neither results nor a field mask (%s)", bodyKind(r))
	case len(p.next) > maxToken:
		return bad("the token of the next page has %d bytes", len(p.next))
	}
	return p, nil
}

// errStream is an element of a stream that is an error.
var errStream = errors.New("an element of the stream is an error")

// parseStream reads an answer to searchStream: a list of chunks. Without its closing bracket it is not whole, whatever HTTP says.
func parseStream(r platform.Reply) (page, error) {
	bad := func(code, format string, args ...any) (page, error) {
		return page{}, badReply(r.Endpoint, code, format, args...)
	}
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return bad("shape", "the answer has no body (status %d)", r.Status)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(r.Body), loose)
	if dec.PeekKind() != '[' {
		return bad("shape", "the answer is not a list of chunks (%s)", bodyKind(r))
	}
	var p page
	err := func() error {
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		for dec.PeekKind() != ']' {
			if k := dec.PeekKind(); k != '{' && k != 0 {
				return errors.New("a chunk is no object")
			}
			known, err := p.read(dec, r.Body)
			if err != nil {
				return err
			}
			if !known {
				return errors.New("a chunk has neither results nor a field mask")
			}
		}
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		return ended(dec)
	}()
	switch {
	case errors.Is(err, errStream):
		return bad("stream_error", "the stream ended in an error after %d rows", len(p.rows))
	case err != nil && cut(err):
		return bad("stream_cut", "the stream ended early, after %d rows (%s)", len(p.rows), bodyKind(r))
	case err != nil:
		return bad("shape", "the answer cannot be read (%s): %s", bodyKind(r), reason(err))
	}
	p.next = ""
	return p, nil
}

// read takes one object in: an answer to search, or a chunk of a stream. known says that it had a key that only these have.
func (p *page) read(dec *jsontext.Decoder, body []byte) (known bool, err error) {
	if _, err := dec.ReadToken(); err != nil {
		return false, err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return known, err
		}
		switch name.String() {
		case "results":
			if k := dec.PeekKind(); k != '[' && k != 0 {
				return known, errors.New("results is no list")
			}
			known = true
			if err := p.readRows(dec, body); err != nil {
				return known, err
			}
		case "nextPageToken":
			var s scalar
			if err := json.UnmarshalDecode(dec, &s); err != nil {
				return known, err
			}
			if s.kind != '"' && s.kind != 0 {
				return known, errors.New("nextPageToken is no text")
			}
			p.next = s.text
		case "totalResultsCount":
			var s scalar
			if err := json.UnmarshalDecode(dec, &s); err != nil {
				return known, err
			}
			known = true
			if n, err := ads.ParseInt(s.text); err == nil && n >= 0 {
				p.total = ads.Some(n)
			}
		case "error":
			return known, errStream
		case "fieldMask", "queryResourceConsumption", "requestId", "summaryRow":
			known = true
			if err := dec.SkipValue(); err != nil {
				return known, err
			}
		default:
			if err := dec.SkipValue(); err != nil {
				return known, err
			}
		}
	}
	_, err = dec.ReadToken()
	return known, err
}

// readRows slices the rows out of the body without copying.
func (p *page) readRows(dec *jsontext.Decoder, body []byte) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		end := dec.InputOffset()
		p.rows = append(p.rows, body[end-int64(len(v)):end:end])
	}
	_, err := dec.ReadToken()
	return err
}

func ended(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the answer")
	}
	return nil
}

// cut says that an answer stops in the middle.
func cut(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) }

// reason puts a decoder's error in words without the data that it stumbled over.
func reason(err error) string {
	se, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "a key comes twice"
	case cut(err):
		return "it is cut short"
	case ok:
		return fmt.Sprintf("not valid JSON at byte %d", se.ByteOffset)
	}
	return ads.Printable(err.Error(), 120)
}
