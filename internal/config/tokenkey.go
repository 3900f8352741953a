package config

import (
	"fmt"
	"strconv"

	"adsync/internal/secret"
	"adsync/internal/tokens"
)

// ofTokenKey marks the keys that tokens are sealed with; the field's name is the key's place in the list then.
const ofTokenKey = -4

// mostTokenKeys bounds a list of keys: one that seals, and those before it.
const mostTokenKeys = 8

// tokenKey is a key in the form that package tokens reads.
var tokenKey = func() *kind {
	k := *credential
	k.name, k.allowed = "key or secret reference", "32 random bytes in base64, as a secret reference; or a list of them, the first of which seals"
	one := credential.schema
	k.schema = map[string]any{"anyOf": []any{one, map[string]any{"type": "array", "minItems": 1, "maxItems": mostTokenKeys, "items": one}}}
	parse := k.parse
	k.parse = func(s string) (any, *fault) {
		if _, f := parse(s); f != nil {
			return nil, f
		}
		if _, err := tokens.ParseKey(secret.New(s)); err != nil {
			return nil, faultf("make one: openssl rand -base64 32", "%s", err.Error())
		}
		return s, nil
	}
	return &k
}()

// tokenKeys reads `token_key:`, one or a list.
func (l *loader) tokenKeys(n *node) {
	if n == nil {
		return
	}
	f := byName(rootFields, "token_key")
	items := []setting{{n, f.Name}}
	if n.kind == listNode {
		items = nil
		for i, item := range n.items {
			items = append(items, setting{item, fmt.Sprintf("%s[%d]", f.Name, i)})
		}
	}
	switch {
	case len(items) == 0:
		l.r.at(n.at, f.Name, "", "is an empty list", "make a key: openssl rand -base64 32")
		return
	case len(items) > mostTokenKeys:
		l.r.at(n.at, f.Name, "", fmt.Sprintf("holds more than %d keys", mostTokenKeys), "take out those that seal nothing any more: after a start with a new first key that is all others")
		return
	}
	l.cfg.TokenKeys = make([]secret.Text, len(items))
	for i, s := range items {
		one := *f
		one.Name = strconv.Itoa(i)
		v, in, ok := l.read(&one, s, ofTokenKey)
		if !ok {
			continue
		}
		l.cfg.setTokenKey(one.Name, v)
		for j := range i {
			if !l.cfg.TokenKeys[j].Empty() && l.cfg.TokenKeys[j].Equal(l.cfg.TokenKeys[i]) {
				l.r.at(in.at, in.path, "", "is a key that stands in the list already", "take one of them out")
			}
		}
		if in.scheme == "" && in.literal {
			l.clear(in)
		}
	}
}

func (c *Config) setTokenKey(place string, v any) {
	if i, err := strconv.Atoi(place); err == nil && i < len(c.TokenKeys) {
		c.TokenKeys[i] = secret.New(v.(string))
	}
}
