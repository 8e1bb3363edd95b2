package tree

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConcat reads a file that is joined of several, as one that copies and as
// one that has read some already.
func TestConcat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := Concat("all", Section("a", path, 2, 5), Bytes("b", []byte("-")), Section("c", path, 5, 10))
	const want = "234-56789"
	if f.Size != int64(len(want)) {
		t.Errorf("size %d, want %d", f.Size, len(want))
	}
	for skip := range len(want) {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, skip)
		_, err = io.ReadFull(r, head)
		var rest strings.Builder
		_, err2 := io.Copy(&rest, r)
		if got := string(head) + rest.String(); got != want || errors.Join(err, err2, r.Close()) != nil {
			t.Errorf("after %d bytes: %q, %v, %v", skip, got, err, err2)
		}
	}
}
