package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"github.com/google/uuid"

	"adsync/internal/store"
)

// holder proves that this Store lives: it holds an operating system's lock on a file of its own beside the database, which dies
// with the process however that ends. The file is made when the first connection is taken.
type holder struct {
	base string // of the database

	mu   sync.Mutex
	id   string
	lock *flock.Flock
}

func holderPath(base, id string) string { return base + ".holder-" + id }

// take gives the holder's id, whose lock is then held until close.
func (h *holder) take() (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lock != nil {
		return h.id, nil
	}
	for range 10 {
		id := uuid.NewString()
		lock, err := lockFile(holderPath(h.base, id))
		if err != nil {
			return "", err
		}
		if lock != nil {
			h.id, h.lock = id, lock
			h.tidy()
			return id, nil
		}
	}
	return "", &store.Error{Kind: store.KindLocked, Op: "lock", Message: "no lock file could be made beside " + h.base, Hint: "look for a program that locks or removes new files there"}
}

// maxTidy bounds how many files of dead holders are removed at once.
const maxTidy = 100

// tidy removes what holders have left that died: without a file they are as dead as with one.
func (h *holder) tidy() {
	dir, base := filepath.Split(holderPath(h.base, ""))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	n := 0
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), base)
		if !ok || id == h.id {
			continue
		}
		if n++; n > maxTidy {
			return
		}
		if _, lock := dead(h.base, id); lock != nil {
			_ = dropLock(lock)
		}
	}
}

// current is the id, empty before the first take.
func (h *holder) current() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.id
}

func (h *holder) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lock == nil {
		return nil
	}
	err := dropLock(h.lock)
	h.lock, h.id = nil, ""
	return err
}

// lockFile creates and locks a file. It gives nil where somebody else has the lock, or removed the file in the same moment.
func lockFile(path string) (*flock.Flock, error) {
	l := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil || !ok {
		_ = l.Close()
		return nil, err
	}
	named, err := os.Stat(path)
	held, herr := l.Stat()
	if err != nil || herr != nil || !os.SameFile(named, held) {
		_ = l.Close()
		return nil, nil
	}
	return l, nil
}

// dropLock removes the file and gives the lock back. The other order would leave a moment in which somebody locks a file that vanishes;
// where the system does not remove open files, it is removed afterwards.
func dropLock(l *flock.Flock) error {
	rm := os.Remove(l.Path())
	err := l.Close()
	if rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		rm = os.Remove(l.Path())
		if errors.Is(rm, fs.ErrNotExist) {
			rm = nil
		}
		return errors.Join(rm, err)
	}
	return err
}

// dead tries for a share in the lock of another holder, which only succeeds when its process has ended. It gives no lock where the
// holder lives or cannot be told to be dead. Several may find out at once. The caller gives the lock back.
func dead(base, id string) (gone bool, lock *flock.Flock) {
	path := holderPath(base, id)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	l := flock.New(path, flock.SetFlag(os.O_RDWR))
	ok, err := l.TryRLock()
	if ok {
		return true, l
	}
	_ = l.Close()
	return errors.Is(err, fs.ErrNotExist), nil
}
