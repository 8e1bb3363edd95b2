package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
)

// documents makes and signs the document of every machine, in the staging
// folder. All of them are new with each publication: one is good only as long
// as it is not older than the manifest.
//
// At most one document for each processor is in memory, so that a fleet costs
// time and disk, not memory.
func (p *publication) documents(ctx context.Context) error {
	if !p.Documents {
		return nil
	}
	if err := os.MkdirAll(p.stagedDocuments(), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(p.stagedDocuments(), 0o755); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, m := range p.Machines {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return p.document(ctx, m) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.result.Documents = len(p.Machines)
	if err := p.keepDocuments(); err != nil {
		return err
	}
	return syncAll(p.stagedDocuments())
}

// stagedDocuments is the folder that becomes the site's documents.
func (p *publication) stagedDocuments() string {
	return filepath.Join(p.Dir, staging, manifest.DocumentDir)
}

// document makes, signs and writes the document of one machine. Machines
// without a name for one have been refused with the manifest.
func (p *publication) document(ctx context.Context, machine manifest.Machine) error {
	id := manifest.DocumentID(machine.Match)
	fail := func(err error) error { return fmt.Errorf("document %q: %w", id, err) }
	m := *p.manifest
	m.Document, m.Documents, m.Default = id, false, nil
	m.Machines = []manifest.Machine{machine}
	m.Menu = nil
	m.Machines[0].Menu = cmp.Or(machine.Menu, p.manifest.Menu)
	names := machine.Boot
	if menu := m.Machines[0].Menu; menu != nil {
		names = slices.Concat(names, menu.Entries)
	}
	m.Entries = map[string]manifest.Entry{}
	for _, name := range names {
		if e, ok := p.manifest.Entries[name]; ok {
			m.Entries[name] = e
		}
	}
	data, err := manifest.Encode(&m)
	if err != nil {
		return fail(err)
	}
	sigs, err := p.Sign(trust.PurposeManifest, data)
	if err != nil {
		return fail(fmt.Errorf("sign: %w", err))
	}
	path := manifest.DocumentPath(id)
	if _, err := p.judge.Document(ctx, memory{path: data, path + ".sig": sigs}.read, deskTime(p.Now), p.accepted, identity(machine.Match)); err != nil {
		return fail(fmt.Errorf("its machine would refuse it: %w", err))
	}
	name := filepath.Join(p.Dir, staging, filepath.FromSlash(path))
	if err := errors.Join(writeNew(name, data), writeNew(name+".sig", sigs)); err != nil {
		return fail(err)
	}
	return nil
}

// keepDocuments takes over the documents of machines that are no longer listed,
// for those that read the manifest before it is replaced: it lists them, and
// its default is not meant for them.
func (p *publication) keepDocuments() error {
	old := filepath.Join(p.Dir, manifest.DocumentDir)
	names, err := os.ReadDir(old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range names {
		kept := filepath.Join(p.stagedDocuments(), e.Name())
		if _, err := os.Lstat(kept); err == nil {
			continue
		}
		if !strings.Contains(e.Name(), ".json") || !e.Type().IsRegular() {
			return fmt.Errorf("%w: %s is no document", ErrForeign, filepath.Join(old, e.Name()))
		}
		data, err := readFile(filepath.Join(old, e.Name()), manifest.MaxSize)
		if err != nil {
			return err
		}
		if err := writeNew(kept, data); err != nil {
			return err
		}
		p.removed = append(p.removed, filepath.Join(old, e.Name()))
	}
	return nil
}

// exchangeDocuments moves the new documents to their place, all at once, and
// the old ones to where they will be removed.
func (p *publication) exchangeDocuments() error {
	if !p.Documents {
		return nil
	}
	staged, place := p.stagedDocuments(), filepath.Join(p.Dir, manifest.DocumentDir)
	if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(staged, place)
	}
	err := unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, place, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return &os.LinkError{Op: "exchange", Old: staged, New: place, Err: err}
	}
	// A file system that cannot, such as NFS: there is a moment without.
	if err := os.Rename(place, staged+".old"); err != nil {
		return err
	}
	return os.Rename(staged, place)
}

// removeDocuments removes what the new manifest does not need.
func (p *publication) removeDocuments() error {
	place := filepath.Join(p.Dir, manifest.DocumentDir)
	if !p.Documents {
		return os.RemoveAll(place)
	}
	for _, name := range p.removed {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeNew writes a file that is not there yet, readable by every web server.
// It does not wait for the disk; see syncAll.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(0o644), f.Close())
}

// syncAll waits until the file system that holds dir is on the disk: one call
// for thousands of files.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
