package toolbox

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/builder/source/apt"
	"github.com/farboot/farboot/builder/source/deb"
)

// dropped is what a machine has no use for: text for people who have a desk, and
// what only matters where packages are installed or desktops run.
var dropped = []string{
	"usr/share/doc", "usr/share/doc-base", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
	"usr/share/linda", "usr/share/bug", "usr/share/menu", "usr/share/gtk-doc", "usr/share/help", "usr/share/applications",
	"usr/share/pixmaps", "usr/share/icons", "usr/share/initramfs-tools", "usr/share/bash-completion",
	"usr/share/zsh/vendor-completions", "usr/share/fish/vendor_completions.d", "usr/share/metainfo",
	"etc/bash_completion.d", "etc/cron.d", "etc/cron.daily", "etc/cron.weekly", "etc/cron.monthly", "etc/logrotate.d",
	"etc/init.d", "usr/share/debconf", "var/cache/debconf",
}

// isBelow tells whether name is one of places, or lies below one.
func isBelow(name string, places []string) bool {
	return slices.ContainsFunc(places, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") })
}

// extract puts the files of all packages into the root. They are unpacked at
// the same time, and put together by name, so that a conflict is always told in
// the same words.
func (t *root) extract(ctx context.Context, c Config) error {
	found := make([][]*file, len(c.Packages))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range c.Packages {
		g.Go(func() (err error) {
			pkg, err := c.Open(nameOf(p))
			if err != nil {
				return err
			}
			found[i], err = t.unpack(ctx, pkg, c.Drop)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, files := range found {
		for _, f := range files {
			if err := t.add(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpack stores the files of a package. What [deb.Package.Walk] hands out has
// neither owners nor devices nor setuid bits, none of which a toolbox needs:
// whoever works in it is root.
func (t *root) unpack(ctx context.Context, p *deb.Package, drop []string) ([]*file, error) {
	replaces, err := apt.ParseRelations(p.Control().Replaces)
	if err != nil {
		return nil, fmt.Errorf("package %s: Replaces: %w", p.Control().Package, err)
	}
	from := &origin{p.Control().Package, p.Control().Version, replaces}
	var files []*file
	kept := map[string]*file{}
	err = p.Walk(func(hdr *tar.Header, r io.Reader) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := merged(hdr.Name)
		if slices.Contains(mergedDirs, hdr.Name) {
			return nil // the folder itself
		}
		if isBelow(name, dropped) || isBelow(name, drop) {
			return nil
		}
		f := &file{path: name, mode: fs.FileMode(hdr.Mode).Perm(), from: from}
		switch hdr.Typeflag {
		case tar.TypeDir:
			f.mode |= fs.ModeDir
		case tar.TypeSymlink:
			f.mode, f.target = fs.ModeSymlink|0o777, moved(hdr.Name, name, hdr.Linkname)
		case tar.TypeLink:
			same := kept[merged(hdr.Linkname)]
			if same == nil {
				return fmt.Errorf("%q is a hard link to %q, which is left out", name, hdr.Linkname)
			}
			f.mode, f.offset, f.size = same.mode, same.offset, same.size
		default:
			f.size = hdr.Size
			var err error
			if f.offset, err = t.keep(r, hdr.Size); err != nil {
				return err
			}
		}
		files, kept[name] = append(files, f), f
		return nil
	})
	return files, err
}
