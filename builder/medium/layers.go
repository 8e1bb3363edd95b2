package medium

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/kernel"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/deb"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
)

// kernel finds the package with the agent's kernel.
func (c *composer) kernel() error {
	name := c.Recipe.Medium.Kernel.Deb
	pkg, err := c.Blobs.Kernel(name)
	if err != nil {
		return c.kernelError(err)
	}
	release, ok := strings.CutPrefix(pkg, "linux-image-")
	if !ok {
		return c.kernelError(fmt.Errorf("package %q neither holds a kernel nor leads to one", name))
	}
	c.kernelPackage, c.m.Kernel = pkg, release
	return nil
}

// vmlinuz returns the agent's kernel.
func (c *composer) vmlinuz() (tree.File, error) {
	f, err := c.taken(kernelPath, c.kernelPackage, "boot/vmlinuz-"+c.m.Kernel)
	if err != nil {
		return tree.File{}, c.kernelError(err)
	}
	return f, nil
}

// kernelError puts the place of the recipe's kernel before err, unless the
// work was interrupted: then nothing is wrong there.
func (c *composer) kernelError(err error) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return &recipe.Error{Path: c.Recipe.Path, Line: c.Recipe.Medium.Kernel.Line, Field: "kernel", Msg: err.Error()}
}

// tell writes down what the agent is told, once the medium has its identity.
func (c *composer) tell() (err error) {
	r := c.Recipe.Medium
	c.settings, err = settings.Encode(settings.Settings{
		Site: r.Site, Arch: "amd64", Channel: r.Channel, Build: c.m.Build.String(), Built: c.m.Epoch,
		Lineage: c.Lineage, Floor: c.Floor, RequireTime: r.RequireTime, TrustRTC: r.TrustRTC,
		Networks: r.Networks, Proxy: r.Proxy, Report: r.Report, Syslog: r.Syslog, Fallback: c.fallback.entries,
		Toolbox: c.told, Limits: (*manifest.Limits)(r.Limits),
	})
	if err != nil {
		return fmt.Errorf("medium: %w", err)
	}
	return nil
}

// initrd puts the initramfs on the medium: its layers one after the other. The
// fallback's comes last, so that a machine whose memory is too small for it has
// all the others: the kernel goes on with what it could unpack.
func (c *composer) initrd() error {
	told, err := c.settingsLayer()
	if err != nil {
		return err
	}
	return c.m.files.Add(initramfs.Join(initrdPath, slices.Insert(c.shared, len(c.shared)-1, told)...))
}

// modulesLayer holds the kernel modules. It is by far the most expensive one.
func (c *composer) modulesLayer() (tree.File, object.Ref, error) {
	pkg, ok := c.Lock.Lookup("deb:" + c.kernelPackage)
	if !ok {
		return tree.File{}, object.Ref{}, fmt.Errorf("lock: %q is missing", c.kernelPackage)
	}
	sets := modules(c.Recipe.Medium)
	key := keyOf("modules", pkg.Ref, sets, c.compression(), c.m.Epoch)
	return c.layer(key, func() ([]initramfs.File, error) {
		pkg, err := c.Blobs.Deb(c.kernelPackage)
		if err != nil {
			return nil, err
		}
		k, err := kernel.Build(c.walk(pkg), sets)
		if err != nil {
			return nil, c.kernelError(err)
		}
		return initramfs.FromTree(k.Modules...), nil
	})
}

// walk returns the package's Walk, which takes seconds for a kernel's, in a form
// that ends with the context.
func (c *composer) walk(p *deb.Package) func(func(*tar.Header, io.Reader) error) error {
	return func(visit func(*tar.Header, io.Reader) error) error {
		return p.Walk(func(h *tar.Header, r io.Reader) error {
			if c.ctx.Err() != nil {
				return context.Cause(c.ctx)
			}
			return visit(h, r)
		})
	}
}

// settingsLayer holds what differs from medium to medium, and the keys. It is
// not compressed: with its about 5 KiB it is made anew each time.
func (c *composer) settingsLayer() (tree.File, error) {
	trust := strings.TrimPrefix(settings.TrustDir, "/")
	return c.pack(initramfs.None, initramfs.FromTree(
		tree.Bytes(strings.TrimPrefix(settings.Path, "/"), c.settings),
		tree.Bytes(trust+"/statement.json", c.Statement),
		tree.Bytes(trust+"/statement.json.sig", c.Signatures),
	))
}

// compression is how the large layers are compressed.
func (c *composer) compression() initramfs.Compression {
	return initramfs.Compression(c.Recipe.Medium.Compression)
}

// layer returns the packed layer that key stands for, from the cache where it
// lies there, and its reference.
func (c *composer) layer(key object.ID, files func() ([]initramfs.File, error)) (tree.File, object.Ref, error) {
	return c.layerAs(c.compression(), key, files)
}

// layerAs is layer with a compression of its own.
func (c *composer) layerAs(how initramfs.Compression, key object.ID, files func() ([]initramfs.File, error)) (tree.File, object.Ref, error) {
	path, ref, err := c.Cache.Layer(key, func(w io.Writer) error {
		content, err := files()
		if err != nil {
			return err
		}
		if err := scanLayer(content); err != nil {
			return err
		}
		return initramfs.Pack(interruptible{c.ctx, w}, initramfs.Layer{Epoch: c.m.Epoch, Files: content}, how)
	})
	if err != nil {
		return tree.File{}, object.Ref{}, err
	}
	f, err := fromCache(initrdPath, path)
	return f, ref, err
}

// interruptible is a writer that fails once its context has ended.
type interruptible struct {
	ctx context.Context
	io.Writer
}

func (w interruptible) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.Writer.Write(p)
}

// pack returns a layer that is not worth caching.
func (c *composer) pack(how initramfs.Compression, files []initramfs.File) (tree.File, error) {
	if err := scanLayer(files); err != nil {
		return tree.File{}, err
	}
	var out strings.Builder
	if err := initramfs.Pack(&out, initramfs.Layer{Epoch: c.m.Epoch, Files: files}, how); err != nil {
		return tree.File{}, err
	}
	return tree.Bytes(initrdPath, []byte(out.String())), nil
}

// scanLayer refuses a layer with a secret key in it.
func scanLayer(files []initramfs.File) error {
	for _, f := range files {
		if f.Open == nil {
			continue
		}
		if err := scanFile(tree.File{Path: f.Path, Size: f.Size, Open: f.Open}); err != nil {
			return err
		}
	}
	return nil
}

// lockText returns the lock as the medium carries it.
func (c *composer) lockText() ([]byte, error) {
	text, err := json.MarshalIndent(c.Lock, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("medium: %w", err)
	}
	return append(text, '\n'), nil
}
