// Command supply says what a release is made of, from what the Go toolchain knows:
//
//	go run ./scripts/supply licences            the page docs/licences.md, on stdout
//	go run ./scripts/supply notices             the texts of all licences, as they go with binaries, on stdout
//	go run ./scripts/supply sbom BINARY…        BINARY.cdx.json: the modules in each binary, in CycloneDX
//
// It reads the module cache, the repository and the binaries, sends nothing, and writes the same bytes for the same input. It imports nothing of
// adsync.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "supply:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "licences":
		l, err := collect(ctx)
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, l.page())
		return err
	case len(args) == 1 && args[0] == "notices":
		l, err := collect(ctx)
		if err != nil {
			return err
		}
		return l.notices(out)
	case len(args) > 1 && args[0] == "sbom":
		l, err := collect(ctx)
		if err != nil {
			return err
		}
		for _, binary := range args[1:] {
			b, err := sbom(binary, l)
			if err != nil {
				return fmt.Errorf("%s: %w", binary, err)
			}
			if err := os.WriteFile(binary+".cdx.json", b, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("usage: supply licences | notices | sbom BINARY…")
}
