package lock_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/payload/object"
)

// sum is the checksum of a recipe that names these inputs.
func sum(inputs ...string) object.ID { return lock.RecipeSum([]string{"bookworm"}, inputs) }

// write saves a small lock for the recipe text and returns it with its path.
func write(t *testing.T, recipe string) (*lock.Lock, string) {
	t.Helper()
	l := &lock.Lock{
		Recipe:  sum(recipe),
		Epoch:   time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC),
		Archive: &lock.Archive{Suite: "bookworm", Source: "machine", Date: time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC)},
		Inputs: []lock.Input{
			{Name: "file:keys/x", Path: "keys/x", Ref: object.OfBytes([]byte("x"))},
			{Name: "deb:shim-signed", Version: "1.51", Arch: "amd64", Repo: "archive", Path: "pool/s.deb", Ref: object.OfBytes([]byte("shim"))},
		},
	}
	path := filepath.Join(t.TempDir(), "netboot.lock")
	if err := lock.Save(path, l); err != nil {
		t.Fatal(err)
	}
	return l, path
}

func TestRoundTrip(t *testing.T) {
	saved, path := write(t, "recipe")
	loaded, err := lock.Load(path, sum("recipe"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(saved, loaded); diff != "" {
		t.Error(diff)
	}
	if in, ok := loaded.Lookup("deb:shim-signed"); !ok || in.Version != "1.51" {
		t.Errorf("Lookup = %+v, %v", in, ok)
	}
}

// TestNoInputs: a site of nothing but entries "local" needs none.
func TestNoInputs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site.lock")
	if err := lock.Save(path, &lock.Lock{Recipe: sum()}); err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Load(path, sum()); err != nil {
		t.Error(err)
	}
}

// TestRefusals is threat 12: a lock that was edited, or that belongs to another
// recipe or to other flags, stops the build.
func TestRefusals(t *testing.T) {
	edit := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	}
	same := func(b []byte) []byte { return b }
	for _, test := range []struct {
		name   string
		edit   func([]byte) []byte
		recipe object.ID
		want   error
	}{
		{"other recipe", same, sum("other"), lock.ErrStale},
		{"other input", same, sum("recipe", "deb:shim-signed"), lock.ErrStale},
		{"edited version", edit(`"1.51"`, `"1.52"`), sum("recipe"), lock.ErrEdited},
		{"edited epoch", edit("2026", "2027"), sum("recipe"), lock.ErrEdited},
		{"unknown field", edit(`"format"`, `"extra": 1, "format"`), sum("recipe"), lock.ErrEdited},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }, sum("recipe"), lock.ErrEdited},
		{"empty", func([]byte) []byte { return nil }, sum("recipe"), lock.ErrEdited},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, path := write(t, "recipe")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, test.edit(data), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := lock.Load(path, test.recipe); !errors.Is(err, test.want) {
				t.Errorf("Load = %v; want %v", err, test.want)
			}
		})
	}
}

// TestRecipeSum: what decides a lock's content counts, how it is written does not.
func TestRecipeSum(t *testing.T) {
	base := lock.RecipeSum([]string{"bookworm", "main"}, []string{"deb:a", "deb:b"})
	if base != lock.RecipeSum([]string{"bookworm", "main"}, []string{"deb:b", "deb:a", "deb:b"}) {
		t.Error("the order of inputs makes a difference")
	}
	for _, other := range []object.ID{
		lock.RecipeSum([]string{"trixie", "main"}, []string{"deb:a", "deb:b"}),
		lock.RecipeSum([]string{"bookworm"}, []string{"deb:a", "deb:b"}),
		lock.RecipeSum([]string{"bookworm", "main"}, []string{"deb:a"}),
		lock.RecipeSum([]string{"bookworm", "main"}, []string{"deb:a deb:b"}),
		lock.RecipeSum([]string{"bookworm", "main", "deb:a"}, []string{"deb:b"}),
	} {
		if base == other {
			t.Error("another recipe has the same sum")
		}
	}
}

func TestMissing(t *testing.T) {
	if _, err := lock.Load(filepath.Join(t.TempDir(), "x.lock"), object.ID{}); !errors.Is(err, lock.ErrMissing) {
		t.Errorf("Load = %v; want ErrMissing", err)
	}
}

func TestPathFor(t *testing.T) {
	if got := lock.PathFor("recipes/netboot.yaml"); got != "recipes/netboot.lock" {
		t.Errorf("PathFor = %q", got)
	}
}
