package squashfs_test

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/toolbox/squashfs"
)

// FuzzUnsquashfs writes trees that nobody has thought of, and has squashfs-tools
// read them. Three bytes make an entry: its folder, its kind and its size.
func FuzzUnsquashfs(f *testing.F) {
	f.Add([]byte{0, 0, 0})
	f.Add([]byte{1, 0, 255, 1, 0, 255, 17, 1, 3, 33, 2, 9, 2, 3, 80, 2, 4, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var entries []squashfs.Entry
		var files []string
		for i := 0; i+2 < len(data) && i < 3*400; i += 3 {
			path := fmt.Sprintf("%d/%d/%03d", data[i]&7, data[i]>>6, i/3)
			size := int(data[i+2]) * int(data[i+2]) / 4
			switch kind := data[i+1] % 5; {
			case kind == 0:
				entries = append(entries, file(path, 0o644, words(size, uint64(data[i+2]))))
				files = append(files, path)
			case kind == 1:
				entries = append(entries, file(path, 0o755, noise(size, uint64(i))))
			case kind == 2:
				entries = append(entries, squashfs.Entry{Path: path, Mode: fs.ModeSymlink | 0o777, Target: fmt.Sprintf("%0*d", size/16+1, i)})
			case kind == 3:
				entries = append(entries, squashfs.Entry{Path: path, Mode: fs.ModeDir | 0o711})
			case len(files) > 0:
				entries = append(entries, squashfs.Entry{Path: path, Mode: 0o644, Link: files[size%len(files)]})
			}
		}
		root, _ := unsquash(t, write(t, entries, squashfs.MinBlock))
		if diff := cmp.Diff(want(t, entries), found(t, root)); diff != "" {
			t.Error(diff)
		}
	})
}
