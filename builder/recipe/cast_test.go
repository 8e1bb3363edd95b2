package recipe_test

import (
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/recipe"
)

const siteThatCasts = `kind: site
entries:
  image:
    title: Write the image
    flash: {image: {file: disk.img.xz}, cast: {group: "239.255.0.1:7400"}}
default: [image]
`

// An image that is cast is a seekable file, whatever it was, and its table is there for
// itself.
func TestCast(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(siteThatCasts))
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.Site.Entries["image"].Manifest(maker{})
	if err != nil {
		t.Fatal(err)
	}
	x := e.Flash
	if x.Image != of("packed file:disk.img.xz") || x.Index != of("index of file:disk.img.xz") || x.Format != "zst" ||
		x.Cast.Group != "239.255.0.1:7400" || x.Cast.Table != of("table of file:disk.img.xz") || len(e.Refs()) != 3 {
		t.Errorf("%+v, %+v", x, x.Cast)
	}
	_, err = recipe.Parse("x.yaml", []byte(strings.Replace(siteThatCasts, "239.255.0.1", "10.0.0.1", 1)))
	if err == nil || !strings.Contains(err.Error(), `entries.image.flash.cast: group "10.0.0.1:7400"`) {
		t.Error(err)
	}
}
