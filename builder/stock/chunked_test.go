package stock_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/stock"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/object"
)

// TestChunked: however an image is compressed and offered, it has one index; a packed
// one and its table are made once.
func TestChunked(t *testing.T) {
	image := make([]byte, 3<<20+777)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(image[1<<20:]) // never fails
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, map[string][]byte{"raw": image, "zst": e.EncodeAll(image, nil)}, `
  raw: {title: x, flash: {image: {file: raw}}}
  e: {title: x, flash: {image: {file: zst}}}
`)
	input := func(file, format string) recipe.SiteImage {
		return recipe.SiteImage{Input: recipe.Input{File: file}, Format: format}
	}
	var first chunks.Image
	for range 2 {
		s := stock.New(t.Context(), d.parts)
		img, err := s.Chunked(input("zst", recipe.FormatZst))
		if err != nil {
			t.Fatal(err)
		}
		if first.Zst != nil && (first.Index != img.Index || *first.Zst != *img.Zst) {
			t.Errorf("made again, it is %+v", img)
		}
		first = img
		x, err := caibx.Decode(content(t, s, img.Index))
		if err != nil {
			t.Fatal(err)
		}
		table, err := chunks.DecodeTable(content(t, s, img.Zst.Table), x)
		if err != nil || table.FileSize() != img.Zst.File.Size || !bytes.HasSuffix(content(t, s, img.Zst.File), content(t, s, img.Zst.Table)) {
			t.Errorf("table of %d bytes, %v", img.Zst.Table.Size, err)
		}
		if got, err := unpack(content(t, s, img.Zst.File)); err != nil || !bytes.Equal(got, image) {
			t.Errorf("the packed image holds %d other bytes, %v", len(got), err)
		}
		castr, err := s.Chunked(input("raw", recipe.FormatCastr))
		if err != nil || castr.Index != img.Index || !castr.Castr || len(s.Trees()) != 1 || s.Trees()[0].Index.Size() != x.Size() {
			t.Errorf("tree: %+v, %v", castr, err)
		}
	}
	s := stock.New(t.Context(), d.parts)
	small := input("zst", recipe.FormatZst)
	small.Chunk = 256
	img, err := s.Chunked(small)
	if err != nil {
		t.Fatal(err)
	}
	x, err := caibx.Decode(content(t, s, img.Index))
	if err != nil || x.Max != 256<<10 || img.Zst.File == first.Zst.File {
		t.Errorf("chunks of 256 KiB: %+v, %v", img, err)
	}
	if got, err := unpack(content(t, s, img.Zst.File)); err != nil || !bytes.Equal(got, image) {
		t.Errorf("in chunks of 256 KiB the image holds %d other bytes, %v", len(got), err)
	}
	if _, err := s.Chunked(input("zst", recipe.FormatURL)); err == nil || !strings.Contains(err.Error(), "compressed by zst") {
		t.Errorf("a compressed image, read where it lies: %v", err)
	}
}

// TestProfile: a profile of the image is an object; that of another version is left out
// and told, and what is none is refused.
func TestProfile(t *testing.T) {
	image := bytes.Repeat([]byte("an image "), 1<<20)
	x, err := caibx.Make(bytes.NewReader(image), caibx.DefaultChunk)
	if err != nil {
		t.Fatal(err)
	}
	file, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	index := object.OfBytes(file).SHA256
	good := chunks.Profile{3, 0, 1}.Encode(index)
	d := newDesk(t, map[string][]byte{"raw": image, "good": good, "old": chunks.Profile{3}.Encode(object.ID{1}), "bad": chunks.Profile{99}.Encode(index), "text": []byte("x")}, `
  raw: {title: x, flash: {image: {file: raw}}}
  a: {title: x, flash: {image: {file: good}}}
  b: {title: x, flash: {image: {file: old}}}
  c: {title: x, flash: {image: {file: bad}}}
  e: {title: x, flash: {image: {file: text}}}
`)
	var warned []string
	d.parts.Warn = func(err error) { warned = append(warned, err.Error()) }
	for name, want := range map[string]string{"": "", "good": "", "old": "", "bad": "1. number is wrong", "text": "not begin like one"} {
		s := stock.New(t.Context(), d.parts)
		in := recipe.SiteImage{Input: recipe.Input{File: "raw"}, Format: recipe.FormatZst}
		img, err := s.Chunked(in)
		if err != nil || img.Index.SHA256 != index {
			t.Fatal(err)
		}
		if name != "" {
			in.Profile = &recipe.Input{File: name}
		}
		ref, err := s.Profile(in, img.Index)
		switch {
		case want == "" && err != nil || want != "" && (!errors.Is(err, chunks.ErrProfile) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", name, err)
		case (ref != nil) != (name == "good"):
			t.Errorf("%s: %v", name, ref)
		case ref != nil && !bytes.Equal(content(t, s, *ref), good):
			t.Errorf("%s: other bytes", name)
		}
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "another version") {
		t.Errorf("warned %q", warned)
	}
}

// unpack unpacks with a decoder that knows nothing of seek tables.
func unpack(packed []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(packed, nil)
}
