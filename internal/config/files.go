package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// file is a file that was read whole.
type file struct {
	data []byte
	open bool // people other than its owner and group can read or change it
}

var (
	errTooBig    = errors.New("is too big")
	errDirectory = errors.New("is a directory")
	errNotFile   = errors.New("is not a regular file")
)

// readFile reads a file of at most limit bytes. A pipe is read to its end where the user named it; anywhere else it might never end.
func readFile(name string, limit int64, pipes bool) (file, error) {
	if info, err := os.Stat(name); err == nil && !pipes && !info.IsDir() && !info.Mode().IsRegular() {
		return file{}, errNotFile
	}
	f, err := os.Open(name)
	if err != nil {
		return file{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	if info.IsDir() {
		return file{}, errDirectory
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return file{}, err
	}
	if int64(len(data)) > limit {
		return file{}, fmt.Errorf("%w: more than %s", errTooBig, size(limit))
	}
	return file{data: data, open: openToOthers(info)}, nil
}

// openToOthers: Windows has no such bits, and a pipe's say nothing.
func openToOthers(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o006 != 0
}

func size(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// fileMessage says why a file cannot be read, without its path: the problem names it.
func fileMessage(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	case errors.Is(err, errDirectory), errors.Is(err, errNotFile), errors.Is(err, errTooBig):
		return err.Error()
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return "cannot be read: " + pe.Err.Error()
	}
	return "cannot be read: " + err.Error()
}
