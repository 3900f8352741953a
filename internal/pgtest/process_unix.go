//go:build unix

package pgtest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server and its watcher: a shell that ends the server and removes its data as soon as the pipe to us breaks, which it does
// when our process ends, be it by SIGKILL.
type process struct {
	cmd     *exec.Cmd
	watcher *exec.Cmd
	leash   io.Closer
	ended   chan struct{} // closed when the server has ended
}

// watch is told that it is not needed any more by a line; the end of its input without one means that we are dead.
const watch = `
read line && exit 0
kill -QUIT "$1"
n=0
while kill -0 "$1" 2>/dev/null && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done
kill -KILL "$1" 2>/dev/null
rm -rf "$2"
`

func startProcess(bin, dir, data string, port int) (*process, error) {
	cred, err := serverUser()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port))
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	// In a group of its own: an interrupt at the terminal is for the test, which then ends the server.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	p.watcher = exec.Command("/bin/sh", "-c", watch, "sh", strconv.Itoa(p.cmd.Process.Pid), dir)
	p.watcher.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true}
	in, err := p.watcher.StdinPipe()
	if err == nil {
		p.leash = in
		err = p.watcher.Start()
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// kill ends the server and all that it started by SIGKILL, and waits until they are gone: while one is left, its memory cannot be used by
// the next.
func (p *process) kill() {
	server := p.cmd.Process.Pid
	_ = syscall.Kill(server, syscall.SIGSTOP) // it starts no more
	pids := children(server)
	for _, pid := range append(pids, server) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	p.stop()
	end := time.Now().Add(killTimeout)
	for _, pid := range pids {
		for syscall.Kill(pid, 0) == nil && time.Now().Before(end) {
			<-time.After(2 * time.Millisecond)
		}
	}
}

const killTimeout = 10 * time.Second

// children are the processes that pid has started, where the system tells.
func children(pid int) (out []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		// "pid (name) state ppid …", where the name may hold anything.
		_, rest, ok := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
			out = append(out, child)
		}
	}
	return out
}

// fast ends the server in order, cutting its connections.
func (p *process) fast() { _ = p.cmd.Process.Signal(syscall.SIGINT) }

// stop waits for the server's end, making sure of it, and sends the watcher home.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	if p.leash != nil {
		if w, ok := p.leash.(io.Writer); ok {
			_, _ = io.WriteString(w, "\n")
		}
		_ = p.leash.Close()
		_ = p.watcher.Wait()
	}
}

// serverUser is whom the server runs as: PostgreSQL refuses to run as root.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func asUser(cmd *exec.Cmd) {
	if cred, err := serverUser(); err == nil && cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	}
}

// handOver gives a directory to the server's user.
func handOver(dir string) error {
	cred, err := serverUser()
	if err != nil || cred == nil {
		return err
	}
	return os.Chown(dir, int(cred.Uid), int(cred.Gid))
}
