package toolbox

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// made is the origin of what this package adds to a root.
var made = &origin{name: "farboot"}

// folders are what a system expects, with their permissions: a package's folder
// has lost its sticky bit. Proc and its like are empty: whoever starts a program
// in the toolbox mounts them.
var folders = map[string]fs.FileMode{
	"proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "mnt": 0o755, "media": 0o755, "srv": 0o755, "home": 0o755, "boot": 0o755,
	"root": 0o700, "tmp": fs.ModeSticky | 0o777, "var/tmp": fs.ModeSticky | 0o777, "var/log": 0o755, "var/lib": 0o755, "var/cache": 0o755,
	"etc": 0o755, "usr/bin": 0o755, "usr/sbin": 0o755, "usr/lib": 0o755, "usr/local/bin": 0o755, "usr/local/sbin": 0o755,
}

// links are those that base-files and others have made by their scripts.
var links = map[string]string{
	"etc/mtab": "../proc/self/mounts",
	"var/run":  "/run",
	"var/lock": "/run/lock",
}

// texts are the files without which programs do not know who they are or how to
// find a host. /etc/resolv.conf is filled in where a network is.
var texts = map[string]string{
	"etc/passwd":        "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"etc/group":         "root:x:0:\ntty:x:5:\ndisk:x:6:\nnogroup:x:65534:\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
	"etc/hosts":         "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
	"etc/hostname":      "farboot\n",
	"etc/shells":        "/bin/sh\n",
	"etc/resolv.conf":   "",
}

// furnish adds what packages leave to their scripts. What a package has itself
// stays as it is.
func (t *root) furnish(c Config) error {
	for _, dir := range mergedDirs {
		if dir := "usr/" + dir; t.isUsed(dir) {
			t.link(path.Base(dir), dir)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		t.fill(&file{path: name})
		if f := t.files[name]; f.mode&fs.ModeSymlink == 0 {
			f.mode = fs.ModeDir | folders[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		// Packages have them as folders, which base-files' script replaces.
		if f := t.files[name]; f != nil && f.mode.IsDir() && !t.isUsed(name) {
			delete(t.files, name)
		}
		t.link(name, links[name])
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if err := t.text(name, texts[name]); err != nil {
			return err
		}
	}
	if err := t.authorities(); err != nil {
		return err
	}
	return t.text("usr/share/farboot/packages", c.list())
}

// isUsed tells whether anything lies in the folder dir.
func (t *root) isUsed(dir string) bool {
	for name := range t.files {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// fill adds a file unless there is one.
func (t *root) fill(f *file) {
	if t.files[f.path] == nil {
		f.from = made
		t.files[f.path] = f
	}
}

// link adds a symbolic link unless there is a file.
func (t *root) link(name, target string) {
	t.fill(&file{path: name, mode: fs.ModeSymlink | 0o777, target: target})
}

// text adds a file that holds text unless there is one.
func (t *root) text(name, text string) error {
	offset, err := t.keep(strings.NewReader(text), int64(len(text)))
	if err != nil {
		return fmt.Errorf("toolbox: %w", err)
	}
	t.fill(&file{path: name, mode: 0o644, offset: offset, size: int64(len(text))})
	return nil
}

// authorities makes of the certificates of the package ca-certificates the one
// file that programs read, as update-ca-certificates(8) does.
func (t *root) authorities() error {
	var bundle bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		if !strings.HasPrefix(name, "usr/share/ca-certificates/") || path.Ext(name) != ".crt" {
			continue
		}
		if _, err := io.Copy(&bundle, t.content(t.files[name])); err != nil {
			return fmt.Errorf("toolbox: %w", err)
		}
		bundle.WriteByte('\n') // in case the file ends without one
	}
	if bundle.Len() == 0 {
		return nil
	}
	const name = "etc/ssl/certs/ca-certificates.crt"
	t.link("usr/lib/ssl/cert.pem", "/"+name) // where OpenSSL looks
	return t.text(name, bundle.String())
}

// list is what is written down in the toolbox of what it is made of: a package,
// its version and its architecture a line.
func (c Config) list() string {
	var text strings.Builder
	for _, p := range c.Packages {
		fmt.Fprintln(&text, nameOf(p), p.Version, p.Arch)
	}
	return text.String()
}
