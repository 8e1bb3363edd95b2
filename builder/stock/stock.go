// Package stock makes the objects that the entries of a recipe name: inputs as
// they are, and what is made of them at the desk. That is what is written in the
// recipe itself, the initrd of an entry's files, the index of a disk image, and a
// toolbox.
//
// A [Stock] is a [recipe.Maker]; [Stock.File] tells afterwards where the bytes
// of an object are. It promises that none of them holds a secret key in a form
// that package leak knows, images as they are when unpacked included, and that
// the same lock, files and program give the same objects. What takes long is
// kept in the cache.
//
// It does not judge what it makes, nor whether an object is revoked.
package stock

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/farboot/farboot/builder/chunker"
	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/source/deb"
	"github.com/farboot/farboot/builder/toolbox"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/object"
)

// maxText bounds an input that becomes a part of the manifest, in bytes.
const maxText = 64 << 10

// Stock is what has been made of a recipe so far.
type Stock struct {
	Parts
	ctx   context.Context // New's: the Stock is a part of that call that goes on
	files map[object.Ref]File
	trees []chunker.Image
}

// Parts are what a Stock is made from.
type Parts struct {
	Recipe *recipe.Recipe
	Lock   *lock.Lock
	Blobs  *source.Blobs
	Cache  *cache.Cache
	// Warn, where not nil, is told what may be wrong with a toolbox.
	Warn func(error)
}

// File is where the bytes of an object are.
type File struct {
	// Name is what the recipe calls it, for messages.
	Name, Path string
}

// New returns an empty Stock.
func New(ctx context.Context, p Parts) *Stock {
	return &Stock{Parts: p, ctx: ctx, files: map[object.Ref]File{}}
}

// File returns where the bytes of an object are that this Stock has made.
func (s *Stock) File(ref object.Ref) (File, bool) {
	f, ok := s.files[ref]
	return f, ok
}

// Paths returns where the bytes are of all objects that this Stock has made.
func (s *Stock) Paths() map[object.Ref]string {
	paths := map[object.Ref]string{}
	for ref, f := range s.files {
		paths[ref] = f.Path
	}
	return paths
}

// Object implements [recipe.Maker].
func (s *Stock) Object(c recipe.Content) (object.Ref, error) {
	name, path, ref, err := s.bytes(c)
	if err != nil {
		return object.Ref{}, err
	}
	s.files[ref] = File{name, path}
	return ref, nil
}

// bytes returns where content lies, once it has been scanned.
func (s *Stock) bytes(c recipe.Content) (name, path string, ref object.Ref, err error) {
	if c.Text == "" {
		name = c.Name()
		path, ref, err = s.Blobs.Path(c.Input)
	} else {
		name = fmt.Sprintf("%s:%d", s.Recipe.Path, c.Line)
		path, ref, err = s.Cache.Layer(key("text", []byte(c.Text)), func(w io.Writer) error {
			_, err := io.WriteString(w, string(c.Text))
			return err
		})
	}
	if err == nil {
		err = leak.File(name, path)
	}
	return name, path, ref, err
}

// Program implements [recipe.Maker].
func (s *Stock) Program(c recipe.Content) (object.Ref, error) {
	ref, err := s.Object(c)
	if err != nil {
		return object.Ref{}, err
	}
	file := s.files[ref]
	f, err := os.Open(file.Path)
	if err != nil {
		return object.Ref{}, err
	}
	defer f.Close()
	// The kernel looks for the interpreter in 256 bytes (BINPRM_BUF_SIZE).
	line, err := bufio.NewReaderSize(f, 256).ReadSlice('\n')
	mistake := &recipe.Error{Path: s.Recipe.Path, Line: c.Line, Msg: file.Name}
	switch {
	case !bytes.HasPrefix(line, []byte("#!")):
		mistake.Msg += `: does not begin with "#!" and an interpreter`
		mistake.Hint = "a program that is no script goes into a toolbox's files, and a script starts it"
		return object.Ref{}, mistake
	case err == nil && bytes.HasSuffix(line, []byte("\r\n")):
		mistake.Msg += ": its lines end in CR LF, which Linux takes for a part of the interpreter's name"
		return object.Ref{}, mistake
	}
	return ref, nil
}

// Text implements [recipe.Maker].
func (s *Stock) Text(in recipe.Input) (string, error) {
	name, path, ref, err := s.bytes(recipe.Content{Input: in})
	if err != nil {
		return "", err
	}
	if ref.Size > maxText {
		return "", fmt.Errorf("%s: %d bytes, at most %d", name, ref.Size, maxText)
	}
	data, err := os.ReadFile(path)
	return string(data), err
}

// Layer implements [recipe.Maker]. The files belong to root and have no time, so
// that they are the same in every publication.
func (s *Stock) Layer(files map[string]recipe.ModeFile) (object.Ref, error) {
	var l initramfs.Layer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		_, path, _, err := s.bytes(f.Content)
		if err != nil {
			return object.Ref{}, err
		}
		file, err := tree.OnDisk(name, path)
		if err != nil {
			return object.Ref{}, err
		}
		file.Mode = f.Perm()
		l.Files = append(l.Files, initramfs.FromTree(file)...)
	}
	return s.packed("an entry's files", l)
}

// Toolbox implements [recipe.Maker].
func (s *Stock) Toolbox(name string) (object.Ref, error) {
	t := s.Recipe.Toolboxes()[name]
	packages, err := s.Blobs.Toolbox(t)
	if err != nil {
		return object.Ref{}, err
	}
	c := toolbox.Config{
		Packages: packages, Open: func(name string) (*deb.Package, error) { return s.Blobs.Deb(name) },
		Alternatives: t.Alternatives, Drop: t.Drop, Epoch: s.Lock.Epoch, Cache: s.Cache,
		Warn: func(message string) {
			if s.Warn != nil {
				s.Warn(errors.New(message))
			}
		},
	}
	for _, at := range slices.Sorted(maps.Keys(t.Files)) {
		f := t.Files[at]
		name, path, ref, err := s.bytes(f.Content)
		if err != nil {
			return object.Ref{}, err
		}
		c.Files = append(c.Files, toolbox.File{Path: at, Mode: f.Perm(), Name: name, Source: path, Ref: ref})
	}
	path, ref, err := toolbox.Build(s.ctx, c)
	if err != nil {
		return object.Ref{}, err
	}
	s.files[ref] = File{"toolbox " + name, path}
	return ref, nil
}

// key is a cache key for what is made of data alone.
func key(what string, data []byte) object.ID {
	h := sha256.New()
	fmt.Fprintf(h, "stock %s\n", what)
	h.Write(data)
	return object.ID(h.Sum(nil))
}
