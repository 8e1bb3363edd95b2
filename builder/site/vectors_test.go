package site_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// says holds, for each reason code of the agent, words of the builder's report.
var says = map[string]string{
	"untrusted": "untrusted", "malformed": "malformed", "chain": "broken trust chain", "rollback": "rollback",
	"equivocation": "equivocation", "fast-forward": "fast-forward", "expired": "expired", "no-time": "no trusted time",
	"revoked": "revoked", "wrong-product": "manifest for others", "too-large": "at most", "not-found": "no such file",
}

// TestVectors: "farboot verify" makes of every site of the corpus what a machine
// does, in its own words. A break of the chain ends it, where a machine goes on
// with the last good statement.
func TestVectors(t *testing.T) {
	list, err := vectors.Load("../../payload/accept/testdata/vectors")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		t.Run(v.Name, func(t *testing.T) {
			name := accept.StatementFile(v.Medium)
			store, err := trust.Anchor(v.Files[name], v.Files[name+".sig"])
			if err != nil { // there is no such medium
				wants(t, v, err.Error())
				return
			}
			report, err := site.Verify(t.Context(), site.VerifyOptions{
				Dir: unpack(t, v), Stores: []*trust.Store{store}, Terms: v.Terms, Time: v.Now,
			})
			if err != nil {
				t.Fatal(err)
			}
			wants(t, v, strings.Join(report.Problems, "\n"))
			medium := report.Media[0]
			if believed := v.Then == "" && v.Releases(manifest.File); believed != (medium.Refuses == "") || believed != (report.Version > 0) {
				t.Errorf("accepts version %d, refuses because of %q", report.Version, medium.Refuses)
			}
			if last := reached(v); medium.Reaches != last {
				t.Errorf("reaches statement %d, want %d", medium.Reaches, last)
			}
		})
	}
}

// wants compares what the builder found with what the vector expects.
func wants(t *testing.T, v vectors.Vector, problems string) {
	t.Helper()
	want := says[v.Expect]
	if v.Name == "document-of-another-serial" {
		want = "" // it is good for the machine that it names, and the builder is none
		v.Expect = vectors.OK
	}
	if v.Name == "document-of-another" || v.Name == "document-manifest-as-document" {
		want = "no machine would ask for it" // the builder looks at the name first
	}
	switch {
	case v.Expect == vectors.OK && problems != "":
		t.Errorf("%s:\n%s", v.Comment, problems)
	case v.Expect != vectors.OK && (want == "" || !strings.Contains(problems, want)):
		t.Errorf("%s: no %q in the report:\n%s", v.Comment, want, problems)
	}
}

// reached returns the last statement that is believed.
func reached(v vectors.Vector) int64 {
	n := v.Medium
	for v.Releases(accept.StatementFile(n + 1)) {
		n++
	}
	return n
}

// unpack writes a vector's files, and the objects that all of them name, into a
// folder.
func unpack(t *testing.T, v vectors.Vector) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, data []byte) {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range v.Files {
		put(name, data)
	}
	for _, content := range []string{"kernel", "old kernel", "initrd", "#!/bin/sh\n", "toolbox", "image", "index", "seed"} {
		put(object.OfBytes([]byte(content)).Path(), []byte(content))
	}
	return dir
}
