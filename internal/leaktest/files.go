package leaktest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mostFile is the longest file that is searched: a test that makes longer ones searches too little.
const mostFile = 512 << 20

// Files searches every regular file below a directory, and gives what is found by file. The names of files are searched too. It fails where there is
// no file at all, or one that cannot be read: what was not looked at is not clean.
func (s *Scanner) Files(dir string, skip ...string) (map[string][]Finding, error) {
	found := map[string][]Finding{}
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, p := range skip {
			if path == p {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		if got := s.Scan([]byte(filepath.Base(path))); len(got) > 0 {
			found[path+" (its name)"] = got
		}
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() > mostFile {
			return fmt.Errorf("%s has %d bytes: too many to search", path, info.Size())
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		if got := s.Scan(b); len(got) > 0 {
			found[path] = got
		}
		return nil
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("%s holds no file to search", dir)
	}
	return found, err
}
