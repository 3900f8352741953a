package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/secret"
)

// resolvesAtOnce bounds how many references are followed side by side. Each store has a narrower bound of its own.
const resolvesAtOnce = 16

// Resolve follows every secret reference and fills in what it finds: what a remote store keeps is first read here, what a file keeps may
// have changed. The error is an *Error that names all references that could not be read; the values of those stay as they were. What is read here and
// draws a warning is added to Warnings, or is an error where all is strict. While it runs nobody else may use c.
func (c *Config) Resolve(ctx context.Context) error {
	warnings, err := c.resolve(ctx, c.late, time.Time{}, func(l *lateSecret, v any) {
		switch l.connection {
		case ofDatabase:
			c.Database = v.(Database)
		case ofTokenKey:
			c.setTokenKey(l.field.Name, v)
		case ofWeb:
			c.Web.set(l.field.Name, v)
		case ofNotify:
			c.Notify.set(v)
		default:
			l.field.set(&c.Connections[l.connection], v)
		}
	})
	for _, w := range warnings {
		if !slices.Contains(c.Warnings, w) { // a file is read at the beginning too
			c.Warnings = append(c.Warnings, w)
		}
	}
	order(c.Warnings)
	return err
}

// ResolveConnection gives a connection with its secrets as they are kept now, or were a short while ago: a remote store is asked at most
// once within the time that `secrets: cache:` sets. c itself stays as it is, so any number of connections may be resolved at once.
func (c *Config) ResolveConnection(ctx context.Context, ref ads.Ref) (Connection, error) {
	i, ok := c.index[ref]
	if !ok {
		return Connection{}, fmt.Errorf("%s has no connection %s", c.Source, ref)
	}
	conn := c.Connections[i]
	err := c.resolveInto(ctx, &conn, time.Time{})
	return conn, err
}

// Renew is for a connection whose credentials were refused: it reads its secrets again, from where they are kept and from no cache, and
// says whether any of them is another than conn has. Those who ask at the same time for what stands at one place share one request.
// c stays as it is. Where the error is not nil, conn is given back unchanged.
func (c *Config) Renew(ctx context.Context, conn Connection) (renewed Connection, changed bool, err error) {
	renewed = conn
	if err := c.resolveInto(ctx, &renewed, time.Now()); err != nil {
		return conn, false, err
	}
	return renewed, !renewed.SameLogin(conn), nil
}

// Renewable reports whether the connection has a secret that may change while the process runs. Where it has none, only a new
// configuration or a new environment brings other credentials.
func (c *Config) Renewable(ref ads.Ref) bool { return len(c.lateOf(ref)) > 0 }

// Close gives back what the stores of secrets hold: leases and sessions. It may be called again; c's references cannot be followed after it.
func (c *Config) Close() {
	for _, r := range c.resolvers {
		if r, ok := r.(interface{ Close() }); ok {
			r.Close()
		}
	}
}

// lateOf are the references of one connection. They stand side by side, in the order of the connections.
func (c *Config) lateOf(ref ads.Ref) []lateSecret {
	i, ok := c.index[ref]
	if !ok {
		return nil
	}
	at := func(l lateSecret, i int) int { return cmp.Compare(l.connection, i) }
	low, _ := slices.BinarySearchFunc(c.late, i, at)
	high, _ := slices.BinarySearchFunc(c.late, i+1, at)
	return c.late[low:high]
}

func (c *Config) resolveInto(ctx context.Context, conn *Connection, since time.Time) error {
	_, err := c.resolve(ctx, c.lateOf(conn.Ref), since, func(l *lateSecret, v any) { l.field.set(conn, v) })
	return err
}

// resolve follows references side by side, each that stands in several places once, and hands over what they stand for, one after another.
func (c *Config) resolve(ctx context.Context, late []lateSecret, since time.Time, fill func(*lateSecret, any)) (warnings []Problem, err error) {
	type name struct{ scheme, ref string }
	type answer struct {
		value secret.Text
		err   error
	}
	asked := map[name]*answer{}
	var order []name
	for i := range late {
		n := name{late[i].scheme, late[i].ref}
		if asked[n] == nil {
			asked[n] = &answer{}
			order = append(order, n)
		}
	}
	next := make(chan name)
	var wg sync.WaitGroup
	for range min(resolvesAtOnce, len(order)) {
		wg.Go(func() {
			for n := range next {
				a := asked[n]
				a.value, a.err = follow(ctx, c.resolvers[n.scheme], n.ref, since)
			}
		})
	}
	for _, n := range order {
		next <- n // every worker goes on until there is no more; each reference is bounded by its resolver and by ctx
	}
	close(next)
	wg.Wait()

	r := report{strict: c.strict}
	for i := range late {
		l := &late[i]
		a := asked[name{l.scheme, l.ref}]
		switch {
		case a.err != nil && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case a.err != nil:
			r.at(l.at, l.path, l.written, "could not be read: "+a.err.Error(), cmp.Or(advice(a.err), "check the reference, and the rights of this process"))
		case a.value.Empty():
			r.at(l.at, l.path, l.written, "is empty where it is kept", "give the secret a value")
		default:
			v, f := l.field.kind.parse(a.value.Reveal())
			if f != nil {
				r.at(l.at, l.path, l.written, f.message, f.cure)
				continue
			}
			if l.connection == ofNotify {
				r.plainWebhook(l.at, l.path, a.value.Reveal())
			}
			fill(l, v)
		}
	}
	return r.result()
}

func follow(ctx context.Context, res Resolver, ref string, since time.Time) (secret.Text, error) {
	if err := ctx.Err(); err != nil {
		return secret.Text{}, err
	}
	if f, ok := res.(Freshener); ok && !since.IsZero() {
		return f.Fresh(ctx, ref, since)
	}
	return res.Resolve(ctx, ref)
}

// advice is what an error says to do.
func advice(err error) string {
	if e, ok := errors.AsType[interface {
		error
		Advice() string
	}](err); ok {
		return e.Advice()
	}
	return ""
}
