package object_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/farboot/farboot/payload/object"
)

const text = "bytes named by their hash"

func TestParseID(t *testing.T) {
	id := object.OfBytes([]byte(text)).SHA256
	got, err := object.ParseID(id.String())
	if err != nil || got != id {
		t.Errorf("ParseID(String()) = %v, %v; want %v", got, err, id)
	}
	for _, s := range []string{"", "ab", strings.ToUpper(id.String()), id.String() + "00", strings.Repeat("g", 64), strings.Repeat("\x00", 64)} {
		if _, err := object.ParseID(s); err == nil {
			t.Errorf("ParseID(%q) succeeds", s)
		}
	}
}

func TestReader(t *testing.T) {
	ref := object.OfBytes([]byte(text))
	for _, test := range []struct {
		name string
		data string
		ok   bool
	}{
		{"right", text, true},
		{"empty", "", false},
		{"one byte short", text[1:], false},
		{"one byte long", text + "x", false},
		{"one bit off", strings.Replace(text, "b", "c", 1), false},
		{"endless", strings.Repeat("x", 1<<20), false},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader} {
			got, err := io.ReadAll(object.NewReader(wrap(strings.NewReader(test.data)), ref))
			if (err == nil) != test.ok || !test.ok && !errors.Is(err, object.ErrMismatch) {
				t.Errorf("%s: %v", test.name, err)
			}
			if len(got) > len(text) {
				t.Errorf("%s: %d bytes came through, the object has %d", test.name, len(got), len(text))
			}
		}
	}
}

func TestReaderPassesErrors(t *testing.T) {
	broken := errors.New("cable out")
	r := object.NewReader(io.MultiReader(strings.NewReader("by"), iotest.ErrReader(broken)), object.OfBytes([]byte(text)))
	if _, err := io.ReadAll(r); !errors.Is(err, broken) {
		t.Errorf("ReadAll = %v; want %v", err, broken)
	}
}

func TestMismatchNamesTheDifference(t *testing.T) {
	want := object.OfBytes([]byte(text))
	for data, phrase := range map[string]string{
		text + "x":                               "more than the promised 25 bytes",
		"x":                                      "ends after 1 of 25 bytes",
		strings.Replace(text, "hash", "HASH", 1): "content has sha256 ",
	} {
		v := object.NewVerifier(want)
		_, err := io.Copy(v, strings.NewReader(data))
		if err == nil {
			err = v.Close()
		}
		if err == nil || !strings.Contains(err.Error(), phrase) {
			t.Errorf("%q: %v; want %q", data, err, phrase)
		}
	}
}

func TestOf(t *testing.T) {
	got, err := object.Of(bytes.NewReader([]byte(text)))
	if err != nil || got != object.OfBytes([]byte(text)) {
		t.Errorf("Of = %v, %v", got, err)
	}
	if !strings.HasPrefix(got.Path(), "objects/") || len(got.Path()) != 8+64 {
		t.Errorf("Path = %q", got.Path())
	}
}
