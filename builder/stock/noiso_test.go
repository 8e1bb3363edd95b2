package stock_test

import (
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/stock"
)

// TestNoISO: what cannot be started is told with the image's name.
func TestNoISO(t *testing.T) {
	d := newDesk(t, map[string][]byte{"text": make([]byte, 1<<20), "packed": []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00")}, `
  e: {title: x, iso: {image: text}}
  packed: {title: x, iso: {image: packed}}
images:
  text: {file: text}
  packed: {file: packed}
`)
	for name, want := range map[string]string{"e": `image "text": not an ISO 9660 image`, "packed": `image "packed": it is compressed by gz`} {
		if _, err := d.recipe.Site.Entries[name].Manifest(stock.New(t.Context(), d.parts)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
