package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/farboot/farboot/payload/trust"
)

// lock keeps other runs of this program from changing the folder until unlock.
// A ceremony may hold it while somebody looks for a passphrase; who cannot wait
// for that gets an error.
func lock(dir string, wait bool) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another farboot changes the keys: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// install puts a statement in force, so that at every moment the folder holds
// either the chain before or the one with it. The moment is when the
// statement's name appears in the folder of statements, after its signatures'.
// The files of public keys follow; while the draft folder exists, [Load] takes
// those of both statements.
func (s *Set) install(w *writer, doc Document, next trust.Statement) error {
	draft := filepath.Join(s.Dir, unfinished)
	name := filepath.Base(doc.Path())
	w.mkdir(draft, 0o755)
	w.file(filepath.Join(draft, name), doc.Statement, 0o644)
	w.file(filepath.Join(draft, name+".sig"), doc.Signature, 0o644)
	final := filepath.Join(s.Dir, doc.Path())
	w.rename(filepath.Join(draft, name+".sig"), final+".sig")
	w.rename(filepath.Join(draft, name), final)
	if w.err != nil {
		return errors.Join(w.err, w.undo())
	}
	if err := s.settle(w, next); err != nil {
		return fmt.Errorf("trust statement %d is in force, but not all files in %s could be brought up to it: %w", doc.Version, s.Dir, err)
	}
	return nil
}

// settle brings the files of public keys up to the newest statement, st, and
// removes what an interrupted run left in the keys folder.
func (s *Set) settle(w *writer, st trust.Statement) error {
	draft := filepath.Join(s.Dir, unfinished)
	w.mkdir(draft, 0o755)
	for _, k := range st.Keys {
		name := publicName(st, k.Fingerprint)
		text, err := armored(k.Key)
		w.try(func() error { return err })
		if err := checkPublicFile(filepath.Join(s.Dir, name), st.Version, k); err == nil {
			continue
		}
		w.remove(filepath.Join(draft, name))
		w.file(filepath.Join(draft, name), text, 0o644)
		w.rename(filepath.Join(draft, name), filepath.Join(s.Dir, name))
	}
	names, err := publicFiles(s.Dir)
	w.try(func() error { return err })
	for _, name := range names {
		// Load has made sure that each is a key of this or the last statement.
		if !slices.ContainsFunc(st.Keys, func(k trust.Key) bool { return publicName(st, k.Fingerprint) == name }) {
			w.remove(filepath.Join(s.Dir, name))
		}
	}
	w.remove(filepath.Join(s.Dir, Document{Version: st.Version + 1}.Path()+".sig"))
	w.removeAll(draft)
	w.sync(s.Dir)
	return w.err
}
