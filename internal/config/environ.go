package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// envVar is a variable and where it came from.
type envVar struct {
	value string
	at    place
	used  bool
}

func (v *envVar) dotenv() bool { return v.at.line > 0 }

// environment is the real environment with the .env file behind it.
type environment struct {
	vars map[string]*envVar
	file string // the .env file as it is named to people, or ""
	open bool   // others can read that file
}

const environmentName = "environment"

// lookup gives a variable's value and notes that it was used.
func (e *environment) lookup(name string) (string, bool) {
	v, ok := e.vars[name]
	if !ok {
		return "", false
	}
	v.used = true
	return v.value, true
}

// get is lookup for variables where empty is the same as not set.
func (e *environment) get(name string) (string, bool) {
	v, _ := e.lookup(name)
	return v, v != ""
}

// source names a variable as the place that a secret came from.
func (e *environment) source(name string) string {
	if v, ok := e.vars[name]; ok && v.dotenv() {
		return fmt.Sprintf("env %s, from %s", name, v.at.file)
	}
	return "env " + name
}

// place is where a variable is set; a variable that is not set has the environment as its place.
func (e *environment) place(name string) place {
	if v, ok := e.vars[name]; ok {
		return v.at
	}
	return place{file: environmentName}
}

// readEnvironment merges Environ and the .env file: a variable that the real environment has, even empty, is not taken from the file.
func readEnvironment(o Options, r *report) *environment {
	e := &environment{vars: map[string]*envVar{}}
	for _, kv := range o.Environ {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			e.vars[name] = &envVar{value: value, at: place{file: environmentName}}
		}
	}
	name := o.EnvFile
	if name == "" {
		if o.NoFiles {
			return e
		}
		name = ".env"
	}
	f, err := readFile(o.path(name), maxEnvFile, o.EnvFile != "")
	if err != nil {
		if o.EnvFile != "" || !errors.Is(err, fs.ErrNotExist) {
			r.at(place{file: name}, "", "", fileMessage(err), "give another file with --env-file, or leave it away: .env is read where it exists")
		}
		return e
	}
	e.file, e.open = name, f.open
	vars, mistakes := parseDotenv(f.data)
	for _, m := range mistakes {
		r.at(place{file: name, line: m.line}, "", "", m.what, `write one NAME=value per line; put a value with blanks or # into '…'`)
	}
	lines := map[string]int{}
	for _, v := range vars {
		if first, dup := lines[v.name]; dup {
			r.warn(place{file: name, line: v.line}, v.name, "", fmt.Sprintf("is set on line %d too; this one counts", first), "remove one of them")
		}
		lines[v.name] = v.line
		if old, ok := e.vars[v.name]; !ok || old.dotenv() {
			e.vars[v.name] = &envVar{value: v.value, at: place{file: name, line: v.line}}
		}
	}
	return e
}
