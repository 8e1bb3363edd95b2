package aptsim

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSignature puts a release to gpgv.
func TestSignature(t *testing.T) {
	m := New(t)
	m.Suite("bookworm")
	m.Publish()
	dir := t.TempDir()
	WriteFile(t, dir, "key.asc", m.Key.Public)
	WriteFile(t, dir, "InRelease", m.File("dists/bookworm/InRelease"))
	run(t, "gpg", "gnupg", "--homedir", dir, "--dearmor", "-o", filepath.Join(dir, "key.gpg"), filepath.Join(dir, "key.asc"))
	run(t, "gpgv", "gpgv", "--homedir", dir, "--keyring", filepath.Join(dir, "key.gpg"), filepath.Join(dir, "InRelease"))
}

// TestPackage puts a package to dpkg-deb.
func TestPackage(t *testing.T) {
	m := New(t)
	m.Suite("bookworm").Add(Package{
		Name: "hello", Version: "1:2-3",
		Fields: map[string]string{"Depends": "libc6 (>= 2)"},
		Files:  map[string]string{"usr/bin/hello": "hello\n"},
	})
	m.Publish()
	dir := t.TempDir()
	WriteFile(t, dir, "hello.deb", m.File("pool/bookworm/hello_1%3a2-3_amd64.deb"))
	got := run(t, "dpkg-deb", "dpkg", "-f", filepath.Join(dir, "hello.deb"), "Package", "Version", "Depends")
	if want := "Package: hello\nVersion: 1:2-3\nDepends: libc6 (>= 2)\n"; got != want {
		t.Errorf("dpkg-deb reads %q, want %q", got, want)
	}
	if got := run(t, "dpkg-deb", "dpkg", "-c", filepath.Join(dir, "hello.deb")); !strings.Contains(got, "./usr/bin/hello\n") {
		t.Errorf("dpkg-deb lists %q", got)
	}
}

// run returns what a tool prints. It must be there, from the Debian package
// called from.
func run(t *testing.T, tool, from string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Fatalf("%s is missing (Debian package %s)", tool, from)
	}
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}
