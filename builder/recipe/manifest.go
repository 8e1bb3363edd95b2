package recipe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/authkey"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// Maker makes the objects that an entry needs; package stock has one.
type Maker interface {
	// Object is an input, or what is written in the recipe.
	Object(Content) (object.Ref, error)
	// Program is Object of what begins with "#!".
	Program(Content) (object.Ref, error)
	// Text is what an input holds, for what is short.
	Text(Input) (string, error)
	// Layer is an initrd with these files.
	Layer(files map[string]ModeFile) (object.Ref, error)
	// Kernel is the medium's own kernel, and Modules an initrd with some of its
	// modules and what they need.
	Kernel() (object.Ref, error)
	Modules(names []string) (object.Ref, error)
	// Image is a disk image.
	Image(Input) (Image, error)
	// Chunked is an image that is read chunk by chunk.
	Chunked(SiteImage) (chunks.Image, error)
	// Toolbox is the one of that name.
	Toolbox(name string) (object.Ref, error)
	// ISO is the live system of an ISO, and Root a system on an image.
	ISO(*IsoEntry) (*manifest.Iso, error)
	Root(*ImageEntry) (*manifest.Image, error)
}

// Image is a disk image as a manifest has it.
type Image struct {
	// Ref is the image as it is, and Index that of its content.
	object.Ref
	Index object.Ref
	// Format is one of [manifest.Formats].
	Format string
}

// Manifest returns the entry as a manifest has it, of objects by m.
func (e Entry) Manifest(m Maker) (manifest.Entry, error) {
	out := manifest.Entry{Title: e.Title, Local: (*manifest.Local)(e.Local), Power: (*manifest.Power)(e.Power)}
	var err error
	switch {
	case e.Linux != nil:
		out.Linux, err = e.Linux.manifest(m)
	case e.Script != nil:
		out.Script, err = e.Script.manifest(m)
	case e.Rescue != nil:
		out.Rescue, err = e.Rescue.manifest(m)
	case e.Flash != nil:
		out.Flash, err = e.Flash.manifest(m)
	case e.Live != nil:
		out.Live, err = e.Live.manifest(m)
	case e.Xen != nil:
		out.Xen, err = e.Xen.manifest(m)
	case e.Iso != nil:
		out.Iso, err = m.ISO(e.Iso)
	case e.Image != nil:
		out.Image, err = m.Root(e.Image)
	}
	if err != nil {
		return manifest.Entry{}, err
	}
	return out, nil
}

func (e *KexecEntry) manifest(m Maker) (*manifest.Linux, error) {
	out := &manifest.Linux{Cmdline: e.Cmdline, Network: e.Network, Watchdog: e.Watchdog}
	for i, in := range e.inputs() {
		ref, err := m.Object(Content{Input: in})
		if err != nil {
			return nil, err
		}
		if i == 0 {
			out.Kernel = ref
		} else {
			out.Initrd = append(out.Initrd, ref)
		}
	}
	if len(e.Files) == 0 {
		return out, nil
	}
	layer, err := m.Layer(e.Files)
	out.Initrd = append(out.Initrd, layer)
	return out, err
}

func (e *ScriptEntry) manifest(m Maker) (*manifest.Script, error) {
	program, err := m.Program(e.Program)
	if err != nil {
		return nil, err
	}
	toolbox, err := named(m, e.Toolbox)
	return &manifest.Script{Program: program, Args: e.Args, Env: e.Env, Toolbox: toolbox, Seconds: e.Seconds, Then: e.Then}, err
}

func (e *RescueEntry) manifest(m Maker) (*manifest.Rescue, error) {
	toolbox, err := named(m, e.Toolbox)
	if err != nil {
		return nil, err
	}
	keys, err := ReadKeys(m, e.Keys, e.KeyFiles)
	return &manifest.Rescue{Keys: keys, Password: e.Password, HostKey: e.HostKey, Toolbox: toolbox, Port: e.Port, Seconds: e.Seconds, Then: e.Then}, err
}

// ReadKeys returns the keys that stand in a recipe, with those of files.
func ReadKeys(m Maker, keys []string, files []Input) ([]string, error) {
	keys = slices.Clip(keys)
	for _, in := range files {
		text, err := m.Text(in)
		if err != nil {
			return nil, err
		}
		more, err := keyLines(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", in.Name(), err)
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// keyLines returns the keys of a file like authorized_keys, which has comments.
func keyLines(text string) ([]string, error) {
	var keys []string
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := authkey.Parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		keys = append(keys, key.String())
	}
	return keys, nil
}

func (e *FlashEntry) manifest(m Maker) (*manifest.Flash, error) {
	out := &manifest.Flash{Disk: e.Disk.manifest(), Grow: e.Grow, Then: e.Then, Again: e.Again}
	if err := e.image(m, out); err != nil {
		return nil, err
	}
	for _, f := range e.Files {
		file := manifest.FlashFile{Partition: f.Partition, Path: f.Path, Mode: uint32(f.Mode), Content: string(f.Text), Expand: f.Expand}
		if !f.written() {
			ref, err := m.Object(f.Content)
			if err != nil {
				return nil, err
			}
			file.Object = &ref
		}
		out.Files = append(out.Files, file)
	}
	return out, nil
}

// image fills in the image. One that is cast is packed anew, chunk by chunk.
func (e *FlashEntry) image(m Maker, out *manifest.Flash) error {
	if e.Cast == nil {
		image, err := m.Image(e.Image)
		out.Image, out.Format, out.Index = image.Ref, image.Format, image.Index
		return err
	}
	image, err := m.Chunked(SiteImage{Input: e.Image, Format: FormatZst})
	if err != nil {
		return err
	}
	out.Image, out.Format, out.Index = image.Zst.File, "zst", image.Index
	out.Cast = &manifest.Cast{Group: e.Cast.Group, Table: image.Zst.Table}
	return nil
}

// named returns the toolbox of that name; without one it is the medium's.
func named(m Maker, name string) (*object.Ref, error) {
	if name == "" {
		return nil, nil
	}
	ref, err := m.Toolbox(name)
	return &ref, err
}

// Manifest returns the menu as a manifest has it; nil stays nil.
func (m *Menu) Manifest() *manifest.Menu {
	if m == nil {
		return nil
	}
	return &manifest.Menu{Seconds: m.Seconds, Entries: m.Entries}
}

// Manifest returns the machine as a manifest has it.
func (m Machine) Manifest() manifest.Machine {
	return manifest.Machine{
		Match: manifest.Match(m.Match), Boot: m.Boot, Menu: m.Menu.Manifest(), Networks: m.Networks, Env: m.Env,
	}
}
