// Package oracle lets tests judge our formats by other people's programs:
// [Tool] finds one, [Output] runs it. What cannot be found fails the test and
// names the Debian package: an oracle that is skipped looks like one that
// agrees.
//
// It is for tests alone, and makes the little that those of the media formats
// share beside it: bytes that depend on a seed, and trees.
package oracle

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/farboot/farboot/builder/tree"
)

// Tool returns the path of a foreign program, or fails naming its package.
func Tool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed as an oracle: install the Debian package %s", name, debianPackage)
	}
	return path
}

// Output runs a foreign program and returns what it printed, on either stream.
// That it fails fails the test.
func Output(t testing.TB, tool string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// Random returns n bytes that depend on seed only.
func Random(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b) //nolint:errcheck // it never fails
	return b
}

// Tree returns a tree of files.
func Tree(t testing.TB, files ...tree.File) *tree.Tree {
	t.Helper()
	var tr tree.Tree
	if err := tr.Add(files...); err != nil {
		t.Fatal(err)
	}
	return &tr
}
