package medium

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/medium/hybrid"
	"github.com/farboot/farboot/builder/netboot"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

// block is how much is read, written and hashed at a time, in bytes: few calls
// and changes of processor, and it stays in their cache.
const block = 1 << 20

// Write writes the hybrid image and the same content as a folder for a TFTP or
// HTTP server to the places that [Places] gives for dir, and returns what the
// image's bytes are. Both are made at the same time and appear when both are
// whole; until then what was there before stays. A folder that is no netboot
// folder stays for good.
//
// The image is on the disk before it takes its name: people carry it away. The
// folder is not synced; after a power failure another build makes the same bytes.
func (m *Medium) Write(dir string) (object.Ref, error) {
	image, folder := Places(dir, m.Name)
	if err := CheckNetboot(folder); err != nil {
		return object.Ref{}, err
	}
	if info, err := os.Lstat(image); err == nil && info.IsDir() {
		return object.Ref{}, fmt.Errorf("image: %s is a folder; it is not replaced", image)
	}
	temp, err := os.MkdirTemp(dir, "."+m.Name+"-*")
	if err != nil {
		return object.Ref{}, fmt.Errorf("medium: %w", err)
	}
	defer os.RemoveAll(temp)
	newImage, newFolder := Places(temp, m.Name)
	var ref object.Ref
	var g errgroup.Group
	g.Go(func() (err error) { ref, err = m.writeImage(newImage); return err })
	g.Go(func() error { return m.writeNetboot(newFolder) })
	if err := g.Wait(); err != nil {
		return object.Ref{}, err
	}
	// The folder first: where that is refused there is to be no image either.
	if err := replace(folder, newFolder); err != nil {
		return object.Ref{}, fmt.Errorf("netboot: %w", err)
	}
	if err := replace(image, newImage); err != nil {
		return object.Ref{}, fmt.Errorf("image: %w", err)
	}
	return ref, nil
}

// Places returns where [Medium.Write] puts the image and the netboot folder of
// the medium called name.
func Places(dir, name string) (image, folder string) {
	return filepath.Join(dir, name+".iso"), filepath.Join(dir, name)
}

// writeImage makes the image at path, where nothing is yet.
func (m *Medium) writeImage(path string) (object.Ref, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return object.Ref{}, fmt.Errorf("image: %w", err)
	}
	h := &hashing{w: f, h: sha256.New()}
	w := bufio.NewWriterSize(h, block)
	if err := errors.Join(m.image(w), w.Flush(), f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return object.Ref{}, fmt.Errorf("image: %w", err)
	}
	return object.Ref{Size: h.n, SHA256: object.ID(h.h.Sum(nil))}, nil
}

// hashing is a writer that hashes what w takes, on another processor.
type hashing struct {
	w io.Writer
	h hash.Hash
	n int64
}

func (t *hashing) Write(p []byte) (int, error) {
	hashed := make(chan struct{})
	go func() {
		t.h.Write(p)
		close(hashed)
	}()
	n, err := t.w.Write(p)
	<-hashed
	t.n += int64(n)
	return n, err
}

// image writes the image's bytes.
func (m *Medium) image(w io.Writer) error {
	content := m.files.Clone()
	if err := content.Add(m.core); err != nil {
		return err
	}
	return hybrid.Write(w, hybrid.Medium{
		Tree:      content,
		VolumeID:  volumeID(m.Name),
		Publisher: "FARBOOT",
		Epoch:     m.Epoch,
		Disk:      hybrid.NewGUID(m.Build.derive("disk")),
		Partition: hybrid.NewGUID(m.Build.derive("partition")),
		State:     hybrid.NewGUID(m.Build.derive("state")),
		StateName: state.PartitionName(m.Build.String()),
		BootCode:  m.bootCode,
		Core:      corePath,
		ESP:       espPath,
	})
}

// volumeID makes a label of the recipe's name: at most 32 characters of the
// set that ISO 9660 calls d-characters.
func volumeID(name string) string {
	id := strings.Map(func(r rune) rune {
		if r == '-' || r == '.' {
			return '_'
		}
		return r
	}, strings.ToUpper(name))
	return id[:min(len(id), 32)]
}

// writeNetboot makes the netboot folder at dir, where nothing is yet.
func (m *Medium) writeNetboot(dir string) error {
	t, err := m.netboot()
	if err != nil {
		return err
	}
	for _, f := range t.Files() {
		if err := writeFile(dir, f, m.Epoch); err != nil {
			return fmt.Errorf("netboot: %w", err)
		}
	}
	return nil
}

// replace puts the file or folder at fresh in the place of what is at path, and
// leaves that at fresh. Nobody ever finds nothing there, unless the file system
// cannot exchange names (NFS for example): then for a moment.
func replace(path, fresh string) error {
	err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	old := fresh + ".old"
	if err := os.Rename(path, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return errors.Join(err, os.Rename(old, path))
	}
	return nil
}

// CheckNetboot refuses a folder with something else than an older netboot folder
// in it: a recipe may have the name of a site, or dir be a TFTP server's root.
func CheckNetboot(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("netboot: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, lockCopy)); err != nil {
		return fmt.Errorf("netboot: %s holds something else; it is not replaced", dir)
	}
	return nil
}

// writeFile writes f below dir. Modes and times come out the same whatever the
// umask and the clock say.
func writeFile(dir string, f tree.File, epoch time.Time) error {
	path := filepath.Join(dir, filepath.FromSlash(f.Path))
	if err := makeDirs(dir, filepath.Dir(path)); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(f.Mode), out.Close(), os.Chtimes(path, epoch, epoch))
}

// makeDirs makes the folder at path and those above it up to top, with mode 0755
// whatever the umask says: a TFTP server is another user.
func makeDirs(top, path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if path != top {
		if err := makeDirs(top, filepath.Dir(path)); err != nil {
			return err
		}
	}
	return errors.Join(os.Mkdir(path, 0o755), os.Chmod(path, 0o755))
}

// netboot returns the netboot folder: kernel, initrd and menu entries as on the
// image, with loaders that find them on the server.
func (m *Medium) netboot() (*tree.Tree, error) {
	var t tree.Tree
	for _, f := range m.files.Files() {
		if f.Path == espPath || f.Path == configPath {
			continue
		}
		if err := t.Add(f); err != nil {
			return nil, err
		}
	}
	ipxe, err := netboot.IPXE(m.menu)
	if err != nil {
		return nil, err
	}
	config, err := grub.Config(m.menu)
	if err != nil {
		return nil, err
	}
	return &t, t.Add(m.shim, m.grubNet,
		tree.Bytes(netboot.Script, []byte(ipxe)),
		tree.Bytes(netboot.GRUBConfig, []byte(config)),
		tree.Bytes(netboot.Dnsmasq, []byte(netboot.DnsmasqExample())),
	)
}
