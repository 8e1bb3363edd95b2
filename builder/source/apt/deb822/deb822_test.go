package deb822

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestNext(t *testing.T) {
	r := NewReader(strings.NewReader("\n# a comment\nTypes: deb\n# another\nuris:\thttp://a.example/ \n  http://b.example/\n .\n\n \t\nLast:"))
	p, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Types": "deb",
		"URIs":  "http://a.example/\nhttp://b.example/\n.",
		"None":  "",
	} {
		if got := p.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if p.Line != 3 {
		t.Errorf("first line is %d, want 3", p.Line)
	}
	if p, err = r.Next(); err != nil || p.Line != 10 {
		t.Fatalf("second paragraph: %v, %v", p, err)
	}
	if _, err = r.Next(); err != io.EOF {
		t.Errorf("after the last paragraph: %v", err)
	}
}

func TestNextRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no field":                "Package",
		"no name":                 ": a",
		"dash":                    "-a: b",
		"blank in name":           "a b: c",
		"continuation first":      " a",
		"twice":                   "A: 1\nB: 2\na: 3",
		"escape":                  "A: \x1b[31m",
		"escape in continuation":  "A: 1\n \x00",
		"carriage return":         "A: 1\r\n",
		"line too long":           "A: " + strings.Repeat("a", MaxLine),
		"too many fields":         manyFields(MaxFields + 1),
		"paragraph too long":      "A: 1\n" + strings.Repeat(" "+strings.Repeat("a", MaxLine-10)+"\n", 5),
		"name beyond ASCII":       "\u00e4: 1",
		"field after a good one":  "A: 1\nB",
		"second paragraph broken": "A: 1\n\nB",
	} {
		r := NewReader(strings.NewReader(text))
		_, err := r.Next()
		if err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNextReadError: a read that fails in the middle of a paragraph is not the
// end of the paragraph (CVE-2016-1252 was of this kind).
func TestNextReadError(t *testing.T) {
	broken := errors.New("broken")
	text := io.MultiReader(strings.NewReader("A: 1\nB: 2"), iotest.ErrReader(broken))
	if p, err := NewReader(text).Next(); !errors.Is(err, broken) {
		t.Errorf("got %v, %v", p, err)
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("F" + strings.Repeat("f", i) + ": 1\n")
	}
	return b.String()
}

// FuzzNext checks that what was read can be written and read again as the
// same: nothing hides between two fields.
func FuzzNext(f *testing.F) {
	f.Add("Package: a\nDepends: b,\n c\n\nPackage: d\n")
	f.Add("#\n\n \nA:\n .\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := NewReader(strings.NewReader(text))
		for {
			p, err := r.Next()
			if err != nil {
				return
			}
			again, err := NewReader(strings.NewReader(write(p))).Next()
			if err != nil || write(again) != write(p) {
				t.Fatalf("%q is read again as %v, %v", write(p), again, err)
			}
		}
	})
}

func write(p *Paragraph) string {
	var b strings.Builder
	for _, f := range p.fields {
		value := strings.ReplaceAll(string(p.text[f.colon:f.end]), "\n", "\n ")
		b.WriteString(string(p.text[f.start:f.colon]) + ": " + value + "\n")
	}
	return b.String()
}
