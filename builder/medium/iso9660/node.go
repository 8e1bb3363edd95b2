package iso9660

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/farboot/farboot/builder/tree"
)

// node is a file or a folder with its place.
type node struct {
	name   string // as Rock Ridge has it
	id     string // as ISO 9660 has it, unique in the folder
	parent *node  // the root is its own
	lba    uint32
	size   int64 // in bytes; a folder's is whole sectors, without continuation areas

	file  *tree.File // nil for folders
	patch func(image []byte, lba uint32) error

	children []*node // sorted by id
	number   uint16  // in the path table, from 1
}

func (n *node) isFolder() bool { return n.file == nil }

// grow turns the list of files into folders of nodes, names and numbers them.
func (m *Image) grow(t *tree.Tree) error {
	m.root = &node{}
	m.root.parent = m.root
	m.byPath["."] = m.root
	for _, f := range t.Files() {
		if err := checkFile(f); err != nil {
			return err
		}
		n := &node{name: path.Base(f.Path), size: f.Size, file: &f}
		m.files = append(m.files, n)
		m.byPath[f.Path] = n
		m.adopt(f.Path, n)
	}
	return m.number()
}

// adopt hangs n, whose place is at p, into its folder, which it makes if need be.
func (m *Image) adopt(p string, n *node) {
	dir := path.Dir(p)
	folder, ok := m.byPath[dir]
	if !ok {
		folder = &node{name: path.Base(dir)}
		m.byPath[dir] = folder
		m.adopt(dir, folder)
	}
	n.parent = folder
	folder.children = append(folder.children, n)
}

// number names the children of every folder and lists the folders level by
// level, each level in the order of its parents and then of its names, which is
// the path table's order (ECMA-119 section 6.9.1).
func (m *Image) number() error {
	m.folders = []*node{m.root}
	for i := 0; i < len(m.folders); i++ {
		d := m.folders[i]
		identify(d.children)
		slices.SortFunc(d.children, func(a, b *node) int { return strings.Compare(a.id, b.id) })
		d.number = uint16(i + 1)
		for _, c := range d.children {
			if c.isFolder() {
				m.folders = append(m.folders, c)
			}
		}
	}
	if len(m.folders) > maxFolders {
		return fmt.Errorf("tree: %d folders, at most %d can be numbered", len(m.folders), maxFolders)
	}
	return nil
}

// checkFile refuses what a reader would show wrongly.
func checkFile(f tree.File) error {
	for name := range strings.SplitSeq(f.Path, "/") {
		if len(name) > maxName {
			return fmt.Errorf("%q: name of %d bytes, Linux reads at most %d", f.Path, len(name), maxName)
		}
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q: control character in the name", f.Path)
		}
	}
	if f.Size < 0 || f.Size > maxExtents*maxExtent {
		return fmt.Errorf("%q: %d bytes, Linux reads at most %d", f.Path, f.Size, int64(maxExtents*maxExtent))
	}
	return nil
}

// identify gives each of siblings its ISO 9660 identifier, which only systems
// without Rock Ridge see: upper case, at most 30 characters, made unique by a
// number. Siblings come in the order of the tree's paths, so that the same tree
// always has the same identifiers.
func identify(siblings []*node) {
	taken := make(map[string]bool)
	for _, n := range siblings {
		stem, ext := split(n)
		full := stem
		for i := 1; taken[full+"."+ext]; i++ {
			suffix := "_" + strconv.Itoa(i)
			full = stem[:min(len(stem), 30-len(ext)-len(suffix))] + suffix
		}
		taken[full+"."+ext] = true
		n.id = full
		if !n.isFolder() {
			n.id = full + "." + ext + ";1"
		}
	}
}

// split returns a node's name in d-characters (ECMA-119 section 7.4.1), cut to
// the 30 that interchange level 3 allows, with at most 8 after the dot.
// Folders have no dot.
func split(n *node) (stem, ext string) {
	stem = n.name
	if dot := strings.LastIndexByte(stem, '.'); dot > 0 && !n.isFolder() {
		stem, ext = stem[:dot], dChars(stem[dot+1:])
	}
	ext = ext[:min(len(ext), 8)]
	stem = dChars(stem)
	return stem[:min(len(stem), 30-len(ext))], ext
}

func dChars(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s)
}
