package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"adsync/internal/ads"
)

// Options say where to look. The zero value reads nothing but the default files of the working directory.
type Options struct {
	ConfigFile string   // named by the user, so it must exist; empty: adsync.yaml where it exists
	EnvFile    string   // named by the user, so it must exist; empty: .env where it exists
	Environ    []string // NAME=value, as os.Environ gives it; it wins over the .env file
	Strict     bool     // every warning is an error
	Dir        string   // where relative names of those two files begin; empty: the working directory
	NoFiles    bool     // neither adsync.yaml nor .env is looked for: Environ is everything

	// Stores gives what reads secrets of schemes beyond env: and file:, by scheme. Load calls it once, after it has read how the stores
	// are to be reached, and only where there is a file; nothing may be asked for a secret before Config.Resolve.
	Stores func(Secrets) map[string]Resolver

	platforms []PlatformOptions // of tests; nil: Platforms()
}

// DefaultFile is the configuration file that is read where it exists.
const DefaultFile = "adsync.yaml"

func (o Options) path(name string) string {
	if o.Dir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(o.Dir, name)
}

// Load reads the configuration: the file that is named or adsync.yaml, else the environment's AD_PLATFORM_ variables. It opens no
// connection. The error is an *Error with every problem that could be found.
func Load(o Options) (*Config, error) {
	if o.platforms == nil {
		o.platforms = Platforms()
	}
	l := &loader{opts: o, r: &report{strict: o.Strict}, cfg: &Config{resolvers: map[string]Resolver{}}, buckets: map[string]bucket{}}
	l.env = readEnvironment(o, l.r)
	name, src, found := l.findFile()
	switch {
	case found:
		l.cfg.Source = name
		l.files = fileSecrets{dir: filepath.Dir(o.path(name))}
		l.fromFile(name, src)
	case name == "":
		l.cfg.Source = environmentName
		l.cfg.Web.Listen = DefaultListen
		l.fromEnvironment()
	}
	l.cfg.resolvers["file"] = l.files
	l.cfg.index = make(map[ads.Ref]int, len(l.cfg.Connections))
	for i, c := range l.cfg.Connections {
		l.cfg.index[c.Ref] = i
	}
	l.blameOpenFiles()
	l.r.strict = l.r.strict || l.cfg.Environment == Production
	l.cfg.strict = l.r.strict
	warnings, err := l.r.result()
	if err != nil {
		return nil, err
	}
	l.cfg.Warnings = warnings
	return l.cfg, nil
}

// loader is one call of Load.
type loader struct {
	opts  Options
	r     *report
	env   *environment
	cfg   *Config
	files fileSecrets

	inClear     place // of the first secret that the configuration file holds in clear; file "" where it holds none
	fileIsOpen  bool  // others can read the configuration file
	secretInEnv place // of the first secret that came from the .env file
	buckets     map[string]bucket
	cas         map[string]string // contents of the files of authorities that were read
	plain       map[string]bool   // schemes whose addresses in the environment were looked at
}

// findFile gives the configuration file's name and content. found is false with a name where a file that should be read cannot be.
func (l *loader) findFile() (name string, src []byte, found bool) {
	name = l.opts.ConfigFile
	if name == "" {
		if l.opts.NoFiles {
			return "", nil, false
		}
		name = DefaultFile
	}
	f, err := readFile(l.opts.path(name), maxFile, l.opts.ConfigFile != "")
	switch {
	case err == nil:
		l.fileIsOpen = f.open
		return name, f.data, true
	case l.opts.ConfigFile == "" && errors.Is(err, fs.ErrNotExist):
		l.noteOtherName()
		return "", nil, false
	}
	cure := "give another file with --config"
	if l.opts.ConfigFile == "" {
		cure = "mend or remove it; without it, the environment's AD_PLATFORM_ variables are used"
	} else if errors.Is(err, fs.ErrNotExist) {
		cure = "check the name after --config, or write a file with `adsync init`"
	}
	l.r.at(place{file: name}, "", "", fileMessage(err), cure)
	return name, nil, false
}

// noteOtherName warns of a file that was surely meant to be read.
func (l *loader) noteOtherName() {
	for _, other := range []string{"adsync.yml", "adsync.json", "adsync.toml"} {
		if _, err := fs.Stat(dirFS(l.opts.path(".")), other); err == nil {
			l.r.warn(place{file: other}, "", "", "is not read", "rename it to "+DefaultFile+" (YAML), or name it with --config")
		}
	}
}

// blameOpenFiles warns of files with secrets that others can read.
func (l *loader) blameOpenFiles() {
	const message = "holds a secret, and everybody on this machine can read or change the file"
	if l.fileIsOpen && l.inClear.file != "" {
		l.r.warn(place{file: l.inClear.file}, "", "", message, "chmod 600 "+l.inClear.file)
	}
	if l.env.open && l.secretInEnv.file != "" {
		l.r.warn(place{file: l.secretInEnv.file}, "", "", message, "chmod 600 "+l.secretInEnv.file)
	}
}

// input is one written value on its way to becoming a setting.
type input struct {
	text    string   // with its variables filled in
	at      place    // where it is written
	path    string   // what it is for
	written string   // as it may be shown where its field is not secret
	vars    []string // variables in it
	literal bool     // something in it was written in the file
	scheme  string   // of a secret reference; text is then what it refers to
	tag     string   // what YAML takes an unquoted value for
}

// problem blames the value that in holds. f decides whether it is shown.
func (l *loader) problem(f *Field, in input, message, cure string) {
	shown := ""
	switch {
	case f.Secret && f.kind != databases:
	case f.kind == databases:
		// Nothing beyond the scheme is known to be harmless.
		if s := schemeForm.FindString(in.written); s != "" {
			shown = s + "…"
		}
	case f.kind == baseURL:
		shown = showURL(in.written)
	default:
		shown = in.written
	}
	if len(in.vars) > 0 && in.at.file != environmentName && shown != "" {
		message += " once its variables are filled in"
	}
	l.r.at(in.at, in.path, shown, message, cure)
}

// take reads a value as f wants it. ok is false where a problem was reported, or the value is still to be fetched.
func (l *loader) take(f *Field, in input, connection int) (v any, ok bool) {
	value := in.text
	if in.scheme != "" {
		if value, ok = l.fetch(f, in, connection); !ok {
			return nil, false
		}
	}
	if value == "" && !f.kind.empty {
		message := "is empty"
		if len(in.vars) > 0 {
			message = "is empty: " + names(in.vars) + " is set to nothing"
		}
		l.problem(f, in, message, f.kind.cure())
		return nil, false
	}
	v, flt := f.kind.parse(value)
	if flt != nil {
		l.problem(f, in, flt.message, flt.cure)
		return nil, false
	}
	return v, true
}

// fetch follows a secret reference. What a remote store keeps is left to Config.Resolve.
func (l *loader) fetch(f *Field, in input, connection int) (string, bool) {
	late := lateSecret{connection: connection, field: f, scheme: in.scheme, ref: in.text, written: in.written, at: in.at, path: in.path}
	switch {
	case in.text == "":
		l.r.at(in.at, in.path, in.scheme+":", "names nothing", "write what is meant behind "+in.scheme+":")
		return "", false
	case in.scheme == "env":
		if !isName(in.text) {
			l.r.at(in.at, in.path, "env:…", "does not hold the name of a variable", "write env:NAME")
			return "", false
		}
		v, set := l.env.lookup(in.text)
		if !set {
			l.missing(in, []string{in.text})
			return "", false
		}
		l.noteDotenv(f, in.text)
		return v, true
	case in.scheme == "file":
		v, open, err := l.files.read(in.text)
		if err != nil {
			l.r.at(in.at, in.path, "file:"+in.text, err.Error(), "the file must exist, hold the secret and nothing else, and be readable by this user")
			return "", false
		}
		if open {
			l.r.warn(in.at, in.path, "file:"+in.text, "everybody on this machine can read or change the file", "chmod 600 "+in.text)
		}
		if connection != ofStore {
			l.cfg.late = append(l.cfg.late, late)
		}
		return v.Reveal(), true
	case connection == ofStore:
		l.r.at(in.at, in.path, in.scheme+":…", "is kept in a store itself", "a store is opened with what this machine has: write env:NAME or file:PATH")
		return "", false
	case l.cfg.resolvers[in.scheme] == nil:
		l.r.at(in.at, in.path, in.scheme+":…", "names a secret store that is not available in this build", "use ${NAME}, env:NAME or file:PATH")
		return "", false
	}
	if c, ok := l.cfg.resolvers[in.scheme].(Checker); ok {
		if err := c.Check(in.text); err != nil {
			// What is not well written may be something else than a reference, so it is not shown.
			l.r.at(in.at, in.path, in.scheme+":…", err.Error(), cmp.Or(advice(err), "check the reference"))
			return "", false
		}
	}
	l.blamePlainStores(in.scheme)
	l.cfg.late = append(l.cfg.late, late)
	return "", false
}

// missing blames variables that are not set. Nothing but their names is said.
func (l *loader) missing(in input, vars []string) {
	vars = slices.Compact(vars)
	verb := "is"
	if len(vars) > 1 {
		verb = "are"
	}
	where := "set it in the environment or in .env"
	if l.opts.EnvFile != "" {
		where = "set it in the environment or in " + l.opts.EnvFile
	}
	l.r.at(in.at, in.path, "", fmt.Sprintf("the environment variable %s %s not set", names(vars), verb), where+fmt.Sprintf(", or give a default: ${%s:-…}", vars[0]))
}

// noteDotenv remembers that a secret came from the .env file.
func (l *loader) noteDotenv(f *Field, name string) {
	if v := l.env.vars[name]; v != nil && v.dotenv() && f.Secret && !f.clear && v.value != "" && l.secretInEnv.file == "" {
		l.secretInEnv = v.at
	}
}

// names lists names: "A, B and C".
func names(s []string) string {
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}
