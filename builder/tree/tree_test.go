package tree_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/farboot/farboot/builder/tree"
)

func TestTree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	onDisk, err := tree.OnDisk("b/disk", path)
	if err != nil {
		t.Fatal(err)
	}
	var tr tree.Tree
	if err := tr.Add(onDisk, tree.Bytes("b/c/d", []byte("deep")), tree.Bytes("a", nil)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range tr.Files() {
		names = append(names, f.Path)
	}
	if want := []string{"a", "b/c/d", "b/disk"}; !reflect.DeepEqual(names, want) {
		t.Errorf("Files = %v; want %v", names, want)
	}
	if want := []string{"b", "b/c"}; !reflect.DeepEqual(tr.Dirs(), want) {
		t.Errorf("Dirs = %v; want %v", tr.Dirs(), want)
	}
	f, ok := tr.Lookup("b/disk")
	if data, err := f.Read(); !ok || err != nil || string(data) != "disk" {
		t.Errorf("Read = %q, %v", data, err)
	}
	for _, bad := range []string{"", ".", "/a", "../x", "b/../c", "b//c", "a", "a/below", "b", `b\c`} {
		if err := tr.Add(tree.Bytes(bad, nil)); err == nil {
			t.Errorf("Add(%q) succeeds", bad)
		}
	}
}

func TestReadNoticesAChangedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := tree.OnDisk("x", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("after it grew"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(); err == nil {
		t.Error("Read does not notice that the file has changed")
	}
}
