//go:build !unix

package pgtest

import (
	"errors"
	"os/exec"
)

type process struct{ ended chan struct{} }

func startProcess(string, string, string, int) (*process, error) {
	return nil, errors.New("private PostgreSQL servers are started on Unix only")
}

func (p *process) kill() {}
func (p *process) fast() {}
func (p *process) stop() {}

func asUser(*exec.Cmd) {}

func handOver(string) error { return nil }
