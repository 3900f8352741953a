package observe

import "context"

type pageKey struct{}

// WithPage says in ctx for which page of a listing requests are made, so that events can name it.
func WithPage(ctx context.Context, page int) context.Context {
	return context.WithValue(ctx, pageKey{}, page)
}

// PageOf is the page that ctx names; 0 where it names none.
func PageOf(ctx context.Context) int {
	page, _ := ctx.Value(pageKey{}).(int)
	return page
}
