package medium

import (
	"errors"
	"path"
	"strings"

	"github.com/farboot/farboot/builder/stock"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
)

// objectPath is where an object lies, in memory as on the image's file system.
func objectPath(id object.ID) string {
	return path.Join(strings.TrimPrefix(settings.ObjectDir, "/"), id.String())
}

// toolbox makes the medium's own toolbox, and puts it where the recipe wants it:
// among the objects that lie in memory from the start, or as a file on the image.
func (c *composer) toolbox(made *stock.Stock) error {
	want := c.Recipe.Medium.Toolbox
	if want == nil {
		return nil
	}
	ref, err := made.Toolbox("")
	if err != nil {
		return err
	}
	file, _ := made.File(ref)
	c.told = &settings.Toolbox{Ref: ref, Place: want.Place}
	o := carried{ref, "toolbox", file.Path}
	if want.Place == settings.PlaceMemory {
		return c.carry(o, "toolbox")
	}
	f, err := c.scanned(objectPath(ref.SHA256), o.name, o.path, ref)
	if errors.Is(err, errRevoked) {
		return c.Recipe.Mistake("toolbox", "", "%v", err)
	}
	if err != nil {
		return err
	}
	return c.m.files.Add(f)
}
