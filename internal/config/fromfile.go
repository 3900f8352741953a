package config

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"adsync/internal/ads"
)

func dirFS(dir string) fs.FS { return os.DirFS(dir) }

// setting is a value of the document with the place that it has in it. Without a node, what was wrong has been said.
type setting struct {
	node *node
	path string
}

// fromFile fills the Config from a configuration file.
func (l *loader) fromFile(name string, src []byte) {
	doc := parseYAML(name, src, l.r)
	if doc == nil {
		return
	}
	start := place{file: name}
	if doc.kind != mapNode && doc.kind != nullNode {
		l.r.at(doc.at, "", "", "is "+doc.kind.String()+", not a configuration", "write `clients:` with a list below it, or start from what `adsync init` writes")
		return
	}
	root := l.keys(doc, "", keysBelow(rootFields, ""), false)
	l.stores(root["secrets"])
	l.database(root["database"], start)
	l.web(root["web"])
	l.notify(root["notify"])
	l.tokenKeys(root["token_key"])
	l.environment(root["environment"])

	var all []Field
	for _, p := range l.opts.platforms {
		all = append(all, p.Fields...)
	}
	defaults := map[string]setting{}
	if d := root["defaults"]; d != nil && d.kind != nullNode {
		defaults = l.settings(setting{d, "defaults"}, all)
	}
	clients := root["clients"]
	switch {
	case clients == nil:
		l.r.at(start, "clients", "", "is missing", "write `clients:` with a list below it: each has an `id:` and `connections:`")
	case clients.kind == nullNode || clients.kind == listNode && len(clients.items) == 0:
		l.r.at(clients.at, "clients", "", "names no client", "add one: `- id: acme` with `connections:` below it")
	case clients.kind != listNode:
		l.r.at(clients.at, "clients", "", "is "+clients.kind.String()+", not a list", "put a - in front of each client: `- id: acme`")
	default:
		l.clients(clients, defaults)
	}
	l.noteUnused(root["database"] == nil)
}

// keys gives a mapping's values by key and blames the unknown ones. Where secrets are kept, a key that resembles none of the known ones
// is not shown: it may be a secret whose key was forgotten.
func (l *loader) keys(n *node, path string, known []string, secrets bool) map[string]*node {
	found := map[string]*node{}
	for _, p := range n.pairs {
		if slices.Contains(known, p.key) {
			found[p.key] = p.value
			continue
		}
		at := join(path, p.key)
		if secrets && nearest(p.key, known) == "" {
			at = path
		}
		l.r.at(p.keyAt, at, "", "there is no such key here", l.cureKey(p.key, known))
	}
	return found
}

// cureKey helps with an unknown key: the one that was meant, the place that it belongs to, or those that there are.
func (l *loader) cureKey(key string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(k, key) {
			return "did you mean " + k + "?"
		}
	}
	var settings []string
	for _, p := range l.opts.platforms {
		settings = append(settings, keysBelow(p.Fields, "")...)
	}
	switch {
	case slices.Contains(settings, key) && !slices.Contains(known, key):
		return "it belongs to a connection, or under defaults:"
	case (key == "email" || key == "password") && slices.Contains(known, "credentials"):
		return "it belongs under credentials:"
	case key == "platform" || key == "name":
		return "it belongs to each connection"
	case key == "database" || key == "defaults" || key == "clients" || key == "environment" || key == "secrets" || key == "web" || key == "notify" || key == "token_key":
		return "it belongs to the top of the file, without blanks in front"
	}
	if n := nearest(key, known); n != "" {
		return "did you mean " + n + "?"
	}
	return "known here: " + strings.Join(known, ", ")
}

// settings walks a mapping by a table of fields. It blames unknown keys and wrong shapes and gives the values by the fields' full names.
func (l *loader) settings(at setting, fields []Field) map[string]setting {
	out := map[string]setting{}
	l.walk(at, "", fields, out)
	return out
}

func (l *loader) walk(at setting, prefix string, fields []Field, out map[string]setting) {
	known := keysBelow(fields, prefix)
	if at.node.kind != mapNode {
		l.r.at(at.node.at, at.path, "", "is "+at.node.kind.String()+", not a mapping", "write its keys below it: "+strings.Join(known, ", "))
		// What should be in it is not missing: it stands there in the wrong shape, and that has been said.
		for _, f := range fields {
			if strings.HasPrefix(f.Name, prefix) {
				out[f.Name] = setting{}
			}
		}
		return
	}
	secrets := prefix != "" && slices.ContainsFunc(fields, func(f Field) bool { return f.Secret && strings.HasPrefix(f.Name, prefix) })
	for key, n := range l.keys(at.node, at.path, known, secrets) {
		full, path := prefix+key, join(at.path, key)
		switch {
		case slices.ContainsFunc(fields, func(f Field) bool { return f.Name == full }):
			out[full] = setting{n, path}
		case n.kind != nullNode:
			l.walk(setting{n, path}, full+".", fields, out)
		}
	}
}

func join(path, key string) string {
	if !isName(strings.ReplaceAll(key, "-", "_")) {
		key = fmt.Sprintf("%q", ads.Printable(key, 40))
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// read makes the value of one setting: its variables filled in, its type right. ok is false where that cannot be.
func (l *loader) read(f *Field, s setting, connection int) (v any, in input, ok bool) {
	if s.node == nil {
		return nil, in, false
	}
	if s.node.kind == listNode && f.kind.list {
		if len(s.node.items) == 0 {
			l.r.at(s.node.at, s.path, "", "is an empty list", f.kind.cure())
			return nil, in, false
		}
		var values []any
		ok = true
		for i, item := range s.node.items {
			v, _, good := l.scalar(f, setting{item, fmt.Sprintf("%s[%d]", s.path, i)}, connection)
			values, ok = append(values, v), ok && good
		}
		if !ok {
			return nil, in, false
		}
		in = input{at: s.node.at, path: s.path}
		v, ok = l.joined(f, in, values)
		return v, in, ok
	}
	v, in, ok = l.scalar(f, s, connection)
	if ok && f.kind.list {
		v, ok = l.joined(f, in, []any{v})
	}
	return v, in, ok
}

func (l *loader) joined(f *Field, in input, values []any) (any, bool) {
	v, flt := f.kind.join(values)
	if flt != nil {
		l.problem(f, in, flt.message, flt.cure)
		return nil, false
	}
	return v, true
}

func (l *loader) scalar(f *Field, s setting, connection int) (v any, in input, ok bool) {
	in = input{at: s.node.at, path: s.path, tag: s.node.tag, written: s.node.text}
	switch {
	case s.node.kind == nullNode:
		if f.kind.empty {
			v, ok = l.take(f, in, connection)
			return v, in, ok
		}
		l.r.at(in.at, in.path, "", "is empty", f.kind.cure()+", or remove the key")
		return nil, in, false
	case s.node.kind != scalarNode:
		l.r.at(in.at, in.path, "", "is "+s.node.kind.String()+", not a single value", f.kind.cure())
		return nil, in, false
	case in.tag == "bool" && f.kind != boolean:
		l.problem(f, in, "is true or false to YAML, not "+f.kind.name, f.kind.cure())
		return nil, in, false
	}
	e := expand(s.node.text, l.env.lookup)
	in.vars, in.literal, in.text = e.names, e.literal, e.text
	switch {
	case e.broken != "":
		l.r.at(in.at, in.path, "", e.broken, "write ${NAME} or ${NAME:-default}; $${ stands for ${ itself")
		return nil, in, false
	case len(e.missing) > 0:
		l.missing(in, e.missing)
		return nil, in, false
	}
	if scheme, is := secretScheme(s.node.text); is && f.kind.refs {
		in.scheme, in.text = scheme, strings.TrimPrefix(in.text, scheme+":")
	}
	for _, n := range in.vars {
		l.noteDotenv(f, n)
	}
	v, ok = l.take(f, in, connection)
	return v, in, ok
}

func (l *loader) database(n *node, start place) {
	f := byName(rootFields, "database")
	s := setting{n, "database"}
	if n == nil {
		s.node = &node{kind: scalarNode, at: start, text: f.Default}
	}
	v, in, ok := l.read(f, s, ofDatabase)
	if !ok {
		return
	}
	l.cfg.Database = v.(Database)
	if in.scheme == "" && in.literal && hasPassword(l.cfg.Database) && hasPasswordInClear(in) {
		l.clear(in)
	}
}

// hasPasswordInClear looks at a PostgreSQL address as it is written: is its password, or a part of it, spelt out?
func hasPasswordInClear(in input) bool {
	_, rest, _ := strings.Cut(in.written, "://")
	user, _, hasUser := cutLast(rest, "@")
	if _, password, ok := strings.Cut(user, ":"); hasUser && ok {
		return !strings.HasPrefix(password, "${") || !strings.HasSuffix(password, "}") || strings.Contains(password, ":-")
	}
	return len(in.vars) == 0 || strings.Contains(in.written, "password=") && !strings.Contains(in.written, "password=${")
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// clear warns of a secret in clear, without repeating it.
func (l *loader) clear(in input) {
	if l.inClear.file == "" {
		l.inClear = in.at
	}
	l.r.warn(in.at, in.path, "", "a secret stands here in clear", "put it into the environment or .env and write ${NAME}, or into a file of its own and write file:PATH")
}

func (l *loader) environment(n *node) {
	if n == nil || n.kind == nullNode {
		return
	}
	if v, _, ok := l.read(byName(rootFields, "environment"), setting{n, "environment"}, -1); ok {
		l.cfg.Environment = v.(string)
	}
}

func (l *loader) clients(list *node, defaults map[string]setting) {
	ids := map[string]place{}
	for i, n := range list.items {
		path := fmt.Sprintf("clients[%d]", i)
		if n.kind != mapNode {
			l.r.at(n.at, path, "", "is "+n.kind.String()+", not a client", "write `- id: acme` with `connections:` below it")
			continue
		}
		s := l.settings(setting{n, path}, clientFields)
		id := ""
		if idNode, has := s["id"]; !has {
			l.r.at(n.at, join(path, "id"), "", "is missing", "give the client an id: `- id: acme`")
		} else if v, in, ok := l.read(byName(clientFields, "id"), idNode, -1); ok {
			id = v.(string)
			if first, dup := ids[fold(id)]; dup {
				l.r.at(in.at, in.path, in.written, fmt.Sprintf("is the id of another client too, on line %d; case makes no difference", first.line), "give each client an id of its own, or put the connections of both under one")
			} else {
				ids[fold(id)] = in.at
			}
		}
		conns, has := s["connections"]
		switch {
		case !has:
			l.r.at(n.at, join(path, "connections"), "", "is missing", "write `connections:` with a list below it: `- platform: adplatform`")
		case conns.node.kind == nullNode || conns.node.kind == listNode && len(conns.node.items) == 0:
			l.r.at(conns.node.at, conns.path, "", "names no connection", "add one: `- platform: adplatform`")
		case conns.node.kind != listNode:
			l.r.at(conns.node.at, conns.path, "", "is "+conns.node.kind.String()+", not a list", "put a - in front of each connection: `- platform: adplatform`")
		default:
			if !l.connections(conns, id, defaults) {
				return
			}
		}
	}
}

// fold makes ids that differ by case alone the same.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// connections gives false where the file holds too many to go on.
func (l *loader) connections(list setting, id string, defaults map[string]setting) bool {
	taken := map[string]place{}
	for i, n := range list.node.items {
		path := fmt.Sprintf("%s[%d]", list.path, i)
		if len(l.cfg.Connections) >= maxConnections {
			l.r.at(n.at, path, "", fmt.Sprintf("more than %d connections", maxConnections), "split the configuration over several files and processes")
			return false
		}
		if n.kind != mapNode {
			l.r.at(n.at, path, "", "is "+n.kind.String()+", not a connection", "write `- platform: adplatform` with its settings below it")
			continue
		}
		l.connection(setting{n, path}, id, defaults, taken)
	}
	return true
}

func (l *loader) connection(at setting, id string, defaults map[string]setting, taken map[string]place) {
	platform, ok := l.platform(at)
	// Without a platform its keys cannot be judged: those of all platforms are let through, so that other mistakes still show.
	fields := platform.Fields
	if !ok {
		for _, p := range l.opts.platforms {
			fields = append(fields, p.Fields...)
		}
	}
	s := l.settings(at, append(slices.Clone(connectionFields), fields...))
	name, nameAt := platform.Name, at.node.at
	if given, has := s["name"]; has {
		if v, in, good := l.read(byName(connectionFields, "name"), given, -1); good {
			name, nameAt = v.(string), in.at
		}
	}
	if name != "" {
		if first, dup := taken[fold(name)]; dup {
			l.r.at(nameAt, at.path, name, fmt.Sprintf("is the name of another connection of this client too, on line %d", first.line), "give one of them a `name:` of its own")
		} else {
			taken[fold(name)] = nameAt
		}
	}
	if !ok {
		return
	}
	defer func(index int) { l.sameBucket(at, &l.cfg.Connections[index]) }(len(l.cfg.Connections))
	index := len(l.cfg.Connections)
	l.cfg.Connections = append(l.cfg.Connections, Connection{
		Ref: ads.Ref{ClientID: id, Connection: name}, Platform: platform.Name, XClientID: id, SendXClientID: true,
	})
	given := func(name string) bool { return s[name].node != nil || defaults[name].node != nil }
	if platform.missing != nil {
		if field, message, cure := platform.missing(given); field != "" {
			l.r.at(at.node.at, strings.ReplaceAll(join(at.path, field), `"`, ""), "", message, cure)
		}
	}
	for i := range platform.Fields {
		f := &platform.Fields[i]
		given, has := s[f.Name]
		if !has {
			given, has = defaults[f.Name]
		}
		if !has {
			l.fallback(f, index, input{at: at.node.at, path: join(at.path, f.Name)})
			continue
		}
		v, in, good := l.read(f, given, index)
		c := &l.cfg.Connections[index]
		if good {
			f.set(c, v)
			l.judge(f, in, c)
		}
		if f.Secret && !f.clear {
			if from := l.sourceOf(in); c.CredentialSource == "" {
				c.CredentialSource = from
			} else if !strings.Contains(c.CredentialSource, from) {
				c.CredentialSource += ", " + from
			}
			if good && in.scheme == "" && in.literal && in.text != "" {
				l.clear(in)
			}
		}
	}
}

// fallback sets what a field is where nothing is written.
func (l *loader) fallback(f *Field, connection int, in input) {
	switch {
	case f.Required:
		cure := "write `" + f.Name + ": " + f.Example + "`"
		if group, key, ok := strings.Cut(f.Name, "."); ok {
			cure = "write `" + key + ": " + f.Example + "` below `" + group + ":`"
		}
		l.r.at(in.at, strings.ReplaceAll(in.path, `"`, ""), "", "is missing", cure+", here or under defaults:")
	case f.Default != "":
		if v, flt := f.kind.parse(f.Default); flt == nil {
			f.set(&l.cfg.Connections[connection], v)
		}
	}
}

// judge looks at what is allowed and yet worth a warning, and reads the files that are named.
func (l *loader) judge(f *Field, in input, c *Connection) {
	if f.Name == caFile {
		c.CA = l.authorities(f, in)
	}
	if f.kind == baseURL && PlainBeyondLoopback(c.URL) {
		l.r.warn(in.at, in.path, showURL(in.written), "sends the password and all data in clear: http, to another machine", "write https://")
	}
}

// sameBucket warns of two connections that the platform counts as one, and that say different things about how it counts.
func (l *loader) sameBucket(at setting, c *Connection) {
	if c.URL == "" {
		return
	}
	key := c.QuotaKey()
	limits := fmt.Sprint(c.Quota)
	if first, known := l.buckets[key]; !known {
		l.buckets[key] = bucket{limits, at.node.at}
	} else if first.limits != limits {
		l.r.warn(at.node.at, join(at.path, "quota"), "", fmt.Sprintf("differs from that of the connection on line %d, though url and X-Client-ID, and with them the platform's count, are the same", first.at.line), "give both the same quota")
	}
}

// bucket is what the first connection said of a quota that the platform counts.
type bucket struct {
	limits string
	at     place
}

// sourceOf says where a secret came from, for messages about refused credentials.
func (l *loader) sourceOf(in input) string {
	switch in.scheme {
	case "env":
		return l.env.source(in.text)
	case "":
	default:
		return in.scheme + " " + in.text
	}
	var from []string
	if in.literal || len(in.vars) == 0 {
		from = append(from, fmt.Sprintf("%s line %d", in.at.file, in.at.line))
	}
	for _, n := range in.vars {
		from = append(from, l.env.source(n))
	}
	return strings.Join(from, ", ")
}

// platform says which platform a connection is for.
func (l *loader) platform(at setting) (PlatformOptions, bool) {
	var known []string
	for _, p := range l.opts.platforms {
		known = append(known, p.Name)
	}
	cure := "this build knows " + strings.Join(known, ", ")
	for _, p := range at.node.pairs {
		if p.key != "platform" {
			continue
		}
		path := join(at.path, "platform")
		f := byName(connectionFields, "platform")
		v, in, ok := l.read(f, setting{p.value, path}, -1)
		if !ok {
			return PlatformOptions{}, false
		}
		if i := slices.Index(known, v.(string)); i >= 0 {
			return l.opts.platforms[i], true
		}
		if n := nearest(v.(string), known); n != "" {
			cure = "did you mean " + n + "? T" + cure[1:]
		}
		l.problem(f, in, "is not a platform of this build", cure)
		return PlatformOptions{}, false
	}
	l.r.at(at.node.at, join(at.path, "platform"), "", "is missing", "write `platform: "+known[0]+"`; "+cure)
	return PlatformOptions{}, false
}

// noteUnused says which variables of the environment the file makes void.
func (l *loader) noteUnused(noDatabase bool) {
	var unused []string
	for _, name := range slices.Sorted(maps.Keys(l.env.vars)) {
		if strings.HasPrefix(name, "AD_PLATFORM_") && !l.env.vars[name].used {
			unused = append(unused, name)
		}
	}
	if len(unused) > 0 {
		l.cfg.Notes = append(l.cfg.Notes, fmt.Sprintf("%s describes the connections; %s: not used", l.cfg.Source, names(unused)))
	}
	if v, set := l.env.vars["DATABASE_URL"]; noDatabase && set && !v.used && v.value != "" {
		l.cfg.Notes = append(l.cfg.Notes, fmt.Sprintf("%s names no database, so it is %s; DATABASE_URL is not used (write database: ${DATABASE_URL} to use it)", l.cfg.Source, DefaultDatabase))
	}
}
