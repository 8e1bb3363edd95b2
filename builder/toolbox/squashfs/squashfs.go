// Package squashfs writes file systems of the kind that Linux mounts read-only
// out of one file: squashfs 4.0 with zstd. The main call is [Write].
//
// The same files give the same bytes, on any number of cores: nothing gets in
// but what an [Entry] holds and one time for all. Owner and group are root's.
// Equal files are stored once, and what does not fill a block shares one with
// others ("fragments"), which is half of why a root file system is that small.
//
// The format is that of Documentation/filesystems/squashfs.rst and of
// fs/squashfs/squashfs_fs.h in Linux, which reads it with
// CONFIG_SQUASHFS_ZSTD since 4.14.
//
// It does not write extended attributes, devices, pipes, sockets, sparse files
// or the table for export over NFS, and it does not read file systems.
package squashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// ErrEntry says that an entry cannot be written.
var ErrEntry = errors.New("squashfs: unusable entry")

const (
	// maxName is the length of a name, in bytes (SQUASHFS_NAME_LEN).
	maxName = 256
	// maxFile is the size of a file, in bytes: what a basic inode can say.
	maxFile = 1<<32 - 1
	// MinBlock and MaxBlock bound the size of a block, in bytes.
	MinBlock = 4 << 10
	MaxBlock = 1 << 20
)

// Entry is a file, a folder or a link.
type Entry struct {
	// Path is slash-separated and relative: "usr/bin/mount". Folders that
	// entries lie in need no entry of their own.
	Path string
	// Mode holds the type (regular, folder or symbolic link) and the
	// permission bits; with fs.ModeSticky where that is wanted.
	Mode fs.FileMode
	// Target is where a symbolic link leads.
	Target string
	// Link is the path of the regular file that this entry is another name of.
	Link string
	// Size is the length of what Open delivers, in bytes; at most 4 GiB - 1.
	Size int64
	// Open starts a read of the content. It is called up to twice.
	Open func() (io.ReadCloser, error)
}

// Options are how to write.
type Options struct {
	// Epoch is the time of all files and of the file system.
	Epoch time.Time
	// Block is how much is compressed together, in bytes, a power of two.
	Block int
}

// Write writes the file system that holds entries to w. What it has compressed
// lies in a temporary file of the folder for those until all is there: the head
// of the file system tells where its end is.
func Write(w io.Writer, entries []Entry, o Options) error {
	if o.Block < MinBlock || o.Block > MaxBlock || o.Block&(o.Block-1) != 0 {
		return fmt.Errorf("squashfs: block size %d is not a power of two from %d to %d", o.Block, MinBlock, MaxBlock)
	}
	root, err := plant(entries)
	if err != nil {
		return err
	}
	spool, err := os.CreateTemp("", "farboot-squashfs-")
	if err != nil {
		return fmt.Errorf("squashfs: %w", err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return fmt.Errorf("squashfs: %w", err)
	}
	image := &image{Options: o, out: spool, at: superblockSize}
	if err := image.write(root); err != nil {
		return err
	}
	if _, err := w.Write(image.superblock()); err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("squashfs: %w", err)
	}
	_, err = io.Copy(w, spool)
	return err
}

// node is an entry in the tree.
type node struct {
	Entry
	name     string
	children []*node // of a folder, by name
	same     *node   // the file that this is another name of
	names    int     // of a file, with its own

	equal   *node   // a file before this one with the same content
	data    content // of a file, once that is stored
	number  uint32  // of the inode
	ref     inodeRef
	written bool // the inode is
}

// plant makes the tree that entries describe.
func plant(entries []Entry) (*node, error) {
	root := &node{Entry: Entry{Mode: fs.ModeDir | 0o755}}
	all := map[string]*node{".": root}
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	for _, e := range sorted {
		if err := e.check(); err != nil {
			return nil, err
		}
		if have := all[e.Path]; have != nil {
			return nil, fmt.Errorf("%w: %q stands twice", ErrEntry, e.Path)
		}
		dir, err := folder(all, path.Dir(e.Path))
		if err != nil {
			return nil, fmt.Errorf("%w for %q", err, e.Path)
		}
		n := &node{Entry: e, name: path.Base(e.Path), names: 1}
		all[e.Path] = n
		dir.children = append(dir.children, n)
	}
	for _, n := range all {
		slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
		if n.Link == "" {
			continue
		}
		if n.same = all[n.Link]; n.same == nil || !n.same.Mode.IsRegular() || n.same.Link != "" {
			return nil, fmt.Errorf("%w: %q is a link to %q, which is no file", ErrEntry, n.Path, n.Link)
		}
		n.same.names++
	}
	return root, nil
}

// folder returns the node of a folder, new if need be.
func folder(all map[string]*node, name string) (*node, error) {
	if n := all[name]; n != nil {
		if !n.Mode.IsDir() {
			return nil, fmt.Errorf("%w: %q is not a folder, but has to be one", ErrEntry, name)
		}
		return n, nil
	}
	parent, err := folder(all, path.Dir(name))
	if err != nil {
		return nil, err
	}
	n := &node{Entry: Entry{Path: name, Mode: fs.ModeDir | 0o755}, name: path.Base(name)}
	all[name] = n
	parent.children = append(parent.children, n)
	return n, nil
}

// check refuses what the format, or this package, has no place for.
func (e Entry) check() error {
	switch t := e.Mode.Type(); {
	case !fs.ValidPath(e.Path) || e.Path == "." || strings.ContainsRune(e.Path, 0):
		return fmt.Errorf("%w: path %q is not clean and relative", ErrEntry, e.Path)
	case len(path.Base(e.Path)) > maxName:
		return fmt.Errorf("%w: the name of %q has more than %d bytes", ErrEntry, e.Path, maxName)
	case t != 0 && t != fs.ModeDir && t != fs.ModeSymlink:
		return fmt.Errorf("%w: %q is a %v", ErrEntry, e.Path, t)
	case t == fs.ModeSymlink && (e.Target == "" || len(e.Target) > maxTarget || strings.ContainsRune(e.Target, 0)):
		return fmt.Errorf("%w: %q leads to %.80q", ErrEntry, e.Path, e.Target)
	case t == 0 && e.Link == "" && (e.Size < 0 || e.Size > maxFile || e.Size > 0 && e.Open == nil):
		return fmt.Errorf("%w: %q has %d bytes, at most %d, and needs a way to read them", ErrEntry, e.Path, e.Size, int64(maxFile))
	}
	return nil
}

// maxTarget is the length of a symbolic link's target, in bytes (PATH_MAX of
// Linux, less its final 0).
const maxTarget = 4095
