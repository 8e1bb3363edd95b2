package medium

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestReplace: the file or folder that was there is the one that goes, on file
// systems that can exchange names and on those that cannot.
func TestReplace(t *testing.T) {
	for _, old := range []bool{true, false} {
		dir := t.TempDir()
		place, fresh := filepath.Join(dir, "place"), filepath.Join(dir, "fresh")
		for name, make := range map[string]bool{place: old, fresh: true} {
			if make {
				if err := errors.Join(os.Mkdir(name, 0o755), os.WriteFile(filepath.Join(name, filepath.Base(name)), nil, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := replace(place, fresh); err != nil {
			t.Fatal(err)
		}
		if got, err := filepath.Glob(place + "/*"); err != nil || len(got) != 1 || filepath.Base(got[0]) != "fresh" {
			t.Errorf("something there before: %v: now it is %q, %v", old, got, err)
		}
		if _, err := os.Stat(fresh); old != (err == nil) {
			t.Errorf("something there before: %v: where it should be now: %v", old, err)
		}
	}
}
