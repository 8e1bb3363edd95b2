package vectors_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

const dir = "../testdata/vectors"

var update = flag.Bool("update", false, "make new keys and write the whole corpus anew")

// verdict is what a machine makes of a vector.
type verdict struct {
	Expect, Then string
	Released     []vectors.Released
	Boots        []string
}

// TestVectors runs the corpus through the code of the agent.
func TestVectors(t *testing.T) {
	if *update {
		write(t, dir)
		t.Error("the corpus was written anew: look at it and run the test without -update")
	}
	list, err := vectors.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := newMaker(t)
	m.longChains()
	for _, v := range slices.Concat(list, slices.Collect(maps.Values(m.made))) {
		t.Run(v.Name, func(t *testing.T) {
			got, reasons := judge(t.Context(), v)
			want := verdict{v.Expect, v.Then, v.Released, v.Boots}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: want -, got +:\n%s\n%v", v.Comment, diff, reasons)
			}
		})
	}
}

// judge goes through a vector as the agent through a site. The second value is
// for people.
func judge(ctx context.Context, v vectors.Vector) (got verdict, reasons error) {
	refuse := func(err error) {
		reasons = errors.Join(reasons, err)
		if got.Expect == "" {
			got.Expect = boot.Reason(err)
		} else if got.Then == "" {
			got.Then = boot.Reason(err)
		}
	}
	name := accept.StatementFile(v.Medium)
	store, err := trust.Anchor(v.Files[name], v.Files[name+".sig"])
	if err != nil {
		refuse(err)
		return got, reasons
	}
	j := accept.New(store, v.Terms)
	broken := walk(ctx, j, v, &got)
	if broken != nil {
		refuse(broken)
	}
	if err := obtain(ctx, j, v, &got); err != nil {
		refuse(err)
	}
	switch {
	case got.Expect == "":
		got.Expect = vectors.OK
	case got.Then == "" && broken != nil:
		got.Then = vectors.OK
	}
	return got, reasons
}

// walk walks hop by hop, and notes which statements were believed. What is noted
// is not the file, but what the Judge has read in it.
func walk(ctx context.Context, j *accept.Judge, v vectors.Vector, got *verdict) error {
	for {
		due := j.Store().Statement().Version + 1
		err := j.Walk(ctx, until(v.Files, accept.StatementFile(due+1)))
		if st := j.Store().Statement(); st.Version == due {
			data, encodeErr := trust.EncodeStatement(st)
			got.Released = append(got.Released, vectors.Released{Name: accept.StatementFile(due), SHA256: object.OfBytes(data).SHA256})
			if err = errors.Join(err, encodeErr); err == nil {
				continue
			}
		}
		return err
	}
}

// obtain judges manifest, document and the entries that are booted.
func obtain(ctx context.Context, j *accept.Judge, v vectors.Vector, got *verdict) error {
	a, err := j.Manifest(ctx, until(v.Files, ""), v.Now)
	if err != nil {
		return err
	}
	release := func(name string, a *accept.Accepted) error {
		got.Released = append(got.Released, vectors.Released{Name: name, SHA256: a.SHA256})
		return same(v.Files[name], a)
	}
	if err := release(manifest.File, a); err != nil {
		return err
	}
	doc, err := j.Document(ctx, until(v.Files, ""), v.Now, a, v.Machine)
	if err != nil {
		return err
	}
	if doc != a {
		if err := release(manifest.DocumentPath(doc.Manifest.Document), doc); err != nil {
			return err
		}
	}
	var first error
	for _, name := range doc.Manifest.Select(v.Machine) {
		e, err := doc.Entry(name)
		switch {
		case err == nil && e.Unknown == "":
			got.Boots = append(got.Boots, name)
		case first == nil:
			first = err
		}
	}
	return first
}

// same tells how a manifest differs from its file.
func same(data []byte, a *accept.Accepted) error {
	if id := object.OfBytes(data).SHA256; id != a.SHA256 {
		return fmt.Errorf("handed out as %s, the file has %s", a.SHA256, id)
	}
	if later(data, a.Manifest) {
		return nil // it cannot be written again
	}
	again, err := manifest.Encode(a.Manifest)
	if err == nil && string(again) != string(data) {
		err = fmt.Errorf("what was handed out is not what the file says:\n%s", again)
	}
	return err
}

// later tells whether a manifest says more than this program knows.
func later(data []byte, m *manifest.Manifest) bool {
	for _, e := range m.Entries {
		if e.Unknown != "" {
			return true
		}
	}
	for _, x := range m.Machines {
		if x.Unknown != "" {
			return true
		}
	}
	return len(m.Optional) > 0 || m.Menu != nil && m.Menu.Unknown != "" || bytes.Contains(data, []byte(`"radio"`)) // a limit
}

// until is the site without one of its files, as fetched by the agent.
func until(files map[string][]byte, hidden string) accept.Files {
	return func(_ context.Context, name string, max int64) ([]byte, error) {
		data, ok := files[name]
		switch {
		case !ok || name == hidden:
			return nil, fmt.Errorf("%s: %w: %w", name, fetch.ErrNotFound, fs.ErrNotExist)
		case int64(len(data)) > max:
			return nil, fmt.Errorf("%s: %w", name, fetch.ErrTooLarge)
		}
		return data, nil
	}
}

// write makes the corpus anew in dir.
func write(t *testing.T, dir string) {
	t.Helper()
	old, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	made := corpus(t)
	for _, name := range slices.Sorted(maps.Keys(made)) {
		data, err := made[name].Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".txt"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
