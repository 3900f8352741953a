// Command adsync keeps a database in step with ad platforms.
package main

import (
	"context"
	"io"
	"log"
	"os"

	"adsync/internal/cli"
)

func main() {
	log.SetOutput(io.Discard) // net/http writes pieces of odd answers there; adsync says itself what matters, and safely
	cli.NoCore()
	ctx, stop := cli.Signals(context.Background())
	code := cli.Main(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
