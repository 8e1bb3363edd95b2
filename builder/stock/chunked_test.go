package stock_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/stock"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
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
	if _, err := s.Chunked(input("zst", recipe.FormatURL)); err == nil || !strings.Contains(err.Error(), "compressed by zst") {
		t.Errorf("a compressed image, read where it lies: %v", err)
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
