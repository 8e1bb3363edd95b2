package iso

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/iso/bootcfg"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/manifest"
)

// unknown is the family of what the recipe itself knows how to tell.
const unknown = "other"

// family is a way to find the medium of a live system, and to tell it things.
type family struct {
	name string
	// is tells by the initrd, and by what starts it.
	is func(*contents, bootcfg.Choice) bool
	// drop are words that name another medium, by what stands before "=".
	drop []string
	// add are the words that name the medium.
	add []string
	// lang and the others are what stands before an option's value, as many words as
	// it takes; none is an option that the family does not know.
	lang, keyboard, timezone, hostname, username []string
	// keys makes files of an initrd that let people in; nil is a family of which it
	// is not known how.
	keys func(*contents, []string) ([]initramfs.File, error)
}

// families are tried in order: those that are made of others come first.
func families() []family {
	// Words of everything that looks for a file on a disk, or fetches it.
	elsewhere := []string{"findiso", "fromiso", "iso-scan/filename", "fetch", "httpfs", "ftpfs", "netboot", "nfsroot", "live-media", "toram", "todisk"}
	return []family{
		{
			name: "grml", is: func(c *contents, b bootcfg.Choice) bool {
				return c.has("scripts/live") && strings.Contains(b.Cmdline+b.Kernel, "grml")
			},
			drop: elsewhere, add: []string{"boot=live", "live-media=" + manifest.Device},
			lang: []string{"lang="}, keyboard: []string{"keyboard="}, timezone: []string{"tz="}, hostname: []string{"hostname="}, keys: initramfsTools,
		},
		{
			name: "live-boot", is: func(c *contents, _ bootcfg.Choice) bool { return c.has("scripts/live") },
			drop: elsewhere, add: []string{"boot=live", "live-media=" + manifest.Device},
			lang: []string{"locales="}, keyboard: []string{"keyboard-layouts="}, timezone: []string{"timezone="}, hostname: []string{"hostname="}, username: []string{"username="},
			keys: initramfsTools,
		},
		{
			name: "casper", is: func(c *contents, _ bootcfg.Choice) bool { return c.has("scripts/casper") },
			drop: append([]string{"url"}, elsewhere...), add: []string{"boot=casper", "live-media=" + manifest.Device},
			lang: []string{"locale="}, keyboard: []string{"keyboard-configuration/layoutcode=", "console-setup/layoutcode="}, hostname: []string{"hostname="}, username: []string{"username="},
			keys: initramfsTools,
		},
		{
			name: "dracut-live", is: func(c *contents, _ bootcfg.Choice) bool { return c.has("sbin/dmsquash-live-root") },
			drop: []string{"root", "iso-scan/filename", "rd.live.image", "rd.live.ram", "rd.live.check"}, add: []string{"root=live:" + manifest.Device, "rd.live.image"},
			lang: []string{"locale.LANG="}, keyboard: []string{"vconsole.keymap="}, hostname: []string{"systemd.hostname="}, keys: dracut,
		},
		{
			name: "archiso", is: func(c *contents, _ bootcfg.Choice) bool { return c.has("hooks/archiso") },
			drop: []string{"archisodevice", "archisolabel", "archisosearchuuid", "archisosearchfilename", "archiso_http_srv", "img_dev", "img_loop", "copytoram"},
			add:  []string{"archisodevice=" + manifest.Device},
			lang: []string{"locale.LANG="}, keyboard: []string{"vconsole.keymap="}, hostname: []string{"systemd.hostname="},
		},
		{
			name: "alpine", is: func(c *contents, _ bootcfg.Choice) bool { return c.has("sbin/nlplug-findfs") },
			drop: []string{"alpine_dev", "alpine_repo", "modloop"}, add: []string{"alpine_dev=" + manifest.Device + ":iso9660"},
		},
		{
			name: "knoppix", is: func(c *contents, _ bootcfg.Choice) bool { return bytes.Contains(c.texts["init"], []byte("KNOPPIX")) },
			drop: []string{"fromhd", "bootfrom", "fromdvd", "tohd", "toram"}, add: []string{"fromhd=" + manifest.Device},
			lang: []string{"lang="}, keyboard: []string{"keyboard="}, timezone: []string{"tz="}, hostname: []string{"hostname="},
		},
	}
}

// Families returns the names of those that are known.
func Families() []string {
	var names []string
	for _, f := range families() {
		names = append(names, f.name)
	}
	return names
}

// family returns the one that an initrd belongs to.
func (s *System) family(b bootcfg.Choice) family {
	all := families()
	if i := slices.IndexFunc(all, func(f family) bool { return f.is(s.boot, b) }); i >= 0 {
		return all[i]
	}
	return family{name: unknown}
}

// line makes the words of a command line name the device as the medium.
func (f family) line(words []string) []string {
	var out []string
	for _, w := range words {
		key, _, _ := strings.Cut(w, "=")
		if !slices.Contains(f.drop, key) && key != "BOOT_IMAGE" && key != "initrd" && !slices.Contains(f.add, w) {
			out = append(out, w)
		}
	}
	return append(slices.Clone(f.add), out...)
}

// options returns the words of a command line for what the system is told.
func (f family) options(l Live) ([]string, error) {
	var words []string
	for _, o := range []struct {
		name, value string
		keys        []string
	}{
		{"lang", l.Lang, f.lang}, {"keyboard", l.Keyboard, f.keyboard}, {"timezone", l.Timezone, f.timezone},
		{"hostname", l.Hostname, f.hostname}, {"username", l.Username, f.username},
	} {
		if o.value == "" {
			continue
		}
		if len(o.keys) == 0 {
			return nil, fmt.Errorf("%w: the family %q has no parameter for %q; where the system has one of its own, it goes under \"append:\"", ErrCannot, f.name, o.name)
		}
		for _, key := range o.keys {
			words = append(words, key+o.value)
		}
	}
	return words, nil
}

// keyLayer makes files of an initrd that let people in.
func (f family) keyLayer(c *contents, keys []string) ([]initramfs.File, error) {
	if f.keys == nil {
		return nil, fmt.Errorf("%w: it is not known how the family %q takes keys of SSH", ErrCannot, f.name)
	}
	return f.keys(c, keys)
}

// keysFile is where the keys lie in the initramfs.
const keysFile = "farboot/authorized_keys"

// script copies the keys to root, and to where users are made from.
const script = `for home in root etc/skel; do
	mkdir -p "%[1]s/$home/.ssh" && chmod 700 "%[1]s/$home/.ssh" &&
		cat /` + keysFile + ` >>"%[1]s/$home/.ssh/authorized_keys" && chmod 600 "%[1]s/$home/.ssh/authorized_keys"
done
`

// orderFile lists the scripts that initramfs-tools runs once the root is mounted.
const orderFile = "scripts/init-bottom/ORDER"

// initramfsTools adds a script to an initrd that initramfs-tools made.
func initramfsTools(c *contents, keys []string) ([]initramfs.File, error) {
	order, ok := c.texts[orderFile]
	if !ok {
		return nil, fmt.Errorf("%w: its initrd has no /%s to which a script for keys of SSH could be added", ErrCannot, orderFile)
	}
	if len(order) > 0 && order[len(order)-1] != '\n' {
		order = append(slices.Clip(order), '\n')
	}
	head := "#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\n"
	return keyFiles(keys, "scripts/init-bottom/farboot", head+fmt.Sprintf(script, "$rootmnt"),
		tree.Bytes(orderFile, append(slices.Clip(order), "/scripts/init-bottom/farboot \"$@\"\n"...))), nil
}

// dracut adds a hook to an initrd that dracut made.
func dracut(c *contents, keys []string) ([]initramfs.File, error) {
	for _, dir := range []string{"usr/lib/dracut/hooks/pre-pivot", "lib/dracut/hooks/pre-pivot"} {
		if e, ok := c.files[dir]; ok && e.Mode.IsDir() {
			return keyFiles(keys, dir+"/90-farboot.sh", "#!/bin/sh\n"+fmt.Sprintf(script, "$NEWROOT")), nil
		}
	}
	return nil, fmt.Errorf("%w: its initrd has no hooks of dracut to which one for keys of SSH could be added", ErrCannot)
}

// keyFiles are the keys, a script, and what else is needed.
func keyFiles(keys []string, name, text string, more ...tree.File) []initramfs.File {
	program := tree.Bytes(name, []byte(text))
	program.Mode = 0o755
	return initramfs.FromTree(append(more, tree.Bytes(keysFile, []byte(strings.Join(keys, "\n")+"\n")), program)...)
}
