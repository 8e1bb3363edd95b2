package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/iso/initrd"
	"github.com/farboot/farboot/builder/tree"
)

// vmlinuz is enough of a kernel to say its release.
func vmlinuz(release string) string {
	b := make([]byte, 4096)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x600)
	copy(b[0x800:], release+" (builder@desk) #1 SMP\x00")
	return string(b)
}

// boot packs an initrd of files: "-> x" is a link, and "/" a folder.
func boot(t testing.TB, files map[string]string) string {
	t.Helper()
	var l initramfs.Layer
	for name, text := range files {
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			l.Files = append(l.Files, initramfs.Symlink(name, target))
			continue
		}
		if text == "/" {
			l.Files = append(l.Files, initramfs.Dir(name, 0o755))
			continue
		}
		f := tree.Bytes(name, []byte(text))
		f.Mode = 0o755
		l.Files = append(l.Files, initramfs.FromTree(f)...)
	}
	var b bytes.Buffer
	if err := initramfs.Pack(&b, l, initramfs.Zstd); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// makeISO makes an ISO of files.
func makeISO(t testing.TB, files map[string]string) (io.ReaderAt, int64) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, "root", name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "new.iso")
	oracle.Output(t, oracle.Tool(t, "xorriso", "xorriso"), "-as", "mkisofs", "-quiet", "-R", "-o", out, filepath.Join(dir, "root"))
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(data), int64(len(data))
}

// debian is an initrd of initramfs-tools with live-boot.
var debian = map[string]string{"init": "#!/bin/sh\n", "scripts/live": "x", "scripts/init-bottom/ORDER": "/scripts/init-bottom/udev \"$@\""}

// TestFamilies: of each family an ISO as it is written, shortened, and what becomes of
// its command line.
func TestFamilies(t *testing.T) {
	grub := func(kernel, line, initrds string) string {
		return "menuentry 'Live' {\n linux " + kernel + " " + line + "\n initrd " + initrds + "\n}\n"
	}
	for name, c := range map[string]struct {
		files  map[string]string
		initrd map[string]string
		live   Live
		want   string
		link   string
	}{
		"live-boot": {
			map[string]string{"boot/grub/grub.cfg": grub("/live/vmlinuz", "boot=live components findiso=${iso_path} toram", "/live/initrd")}, debian,
			Live{Lang: "de_DE.UTF-8", Keyboard: "de", Timezone: "Europe/Vienna", Hostname: "h", Username: "anna"},
			"boot=live live-media={device} components locales=de_DE.UTF-8 keyboard-layouts=de timezone=Europe/Vienna hostname=h username=anna more", "",
		},
		"grml": {
			map[string]string{"boot/grub/grub.cfg": grub("/live/vmlinuz", "apm=power-off boot=live live-media-path=/live/grml64-full/ bootid=x nomce", "/live/initrd")}, debian,
			Live{Lang: "de", Timezone: "Europe/Vienna"}, "boot=live live-media={device} apm=power-off live-media-path=/live/grml64-full/ bootid=x nomce lang=de tz=Europe/Vienna more", "",
		},
		"casper": {
			map[string]string{"boot/grub/loopback.cfg": grub("/live/vmlinuz", "iso-scan/filename=${iso_path} --- quiet splash", "/live/initrd")},
			map[string]string{"init": "#!/bin/sh\n", "scripts/casper": "x"}, Live{Lang: "de_DE.UTF-8", Keyboard: "de"},
			"boot=casper live-media={device} quiet splash locale=de_DE.UTF-8 keyboard-configuration/layoutcode=de console-setup/layoutcode=de more", "",
		},
		"dracut-live": {
			map[string]string{"boot/grub2/grub.cfg": grub("/live/vmlinuz", "root=live:CDLABEL=Fedora rd.live.image quiet rhgb rd.live.check", "/live/initrd")},
			map[string]string{"init": "-> usr/lib/systemd/systemd", "usr/lib/systemd/systemd": "ELF", "usr/sbin/dmsquash-live-root": "x"}, Live{Lang: "de_DE.UTF-8", Hostname: "h"},
			"root=live:{device} rd.live.image quiet rhgb locale.LANG=de_DE.UTF-8 systemd.hostname=h more", "/usr/lib/systemd/systemd",
		},
		"archiso": {
			map[string]string{"loader/entries/01.conf": "title x\nlinux /live/vmlinuz\ninitrd /live/initrd\noptions archisobasedir=arch archisosearchuuid=2024\n"},
			map[string]string{"init": "#!/usr/bin/ash\n", "hooks/archiso": "x"}, Live{Keyboard: "de"},
			"archisodevice={device} archisobasedir=arch vconsole.keymap=de more", "",
		},
		"alpine": {
			map[string]string{"boot/syslinux/syslinux.cfg": "LABEL lts\nKERNEL /live/vmlinuz\nINITRD /live/initrd\nAPPEND modules=loop,squashfs,sd-mod,usb-storage quiet\n"},
			map[string]string{"init": "-> /bin/busybox", "bin": "-> usr/bin", "usr/bin/busybox": "ELF", "sbin/nlplug-findfs": "x"}, Live{},
			"alpine_dev={device}:iso9660 modules=loop,squashfs,sd-mod,usb-storage quiet more", "/bin/busybox",
		},
		"knoppix": {
			map[string]string{"boot/isolinux/isolinux.cfg": "DEFAULT linux64\nAPPEND lang=en vt.default_utf8=0 apm=power-off initrd=/live/initrd nomce\nLABEL knoppix\nKERNEL /live/vmlinuz\n"},
			map[string]string{"init": "#!/static/sh\n# KNOPPIX General Startup Script\n"}, Live{Lang: "de"},
			"fromhd={device} lang=en vt.default_utf8=0 apm=power-off nomce lang=de more", "",
		},
	} {
		c.files["live/vmlinuz"], c.files["live/initrd"] = vmlinuz("6.1.0-1-amd64"), boot(t, c.initrd)
		r, size := makeISO(t, c.files)
		s, err := Examine(r, size, Options{Append: "more", Live: c.live})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Family != name || s.Cmdline != c.want || s.InitLink != c.link || s.Release != "6.1.0-1-amd64" || (s.Init == nil) != (c.link != "") {
			t.Errorf("%s: family %s, init link %q of %d bytes, release %s\n got %s\nwant %s", name, s.Family, s.InitLink, len(s.Init), s.Release, s.Cmdline, c.want)
		}
	}
	if got := Families(); !slices.Contains(got, "live-boot") || len(got) != 7 {
		t.Errorf("families %q", got)
	}
}

// TestOverrides: what the recipe says prevails.
func TestOverrides(t *testing.T) {
	r, size := makeISO(t, map[string]string{
		"a/kernel": vmlinuz("6.12.1"), "a/first": boot(t, map[string]string{"init": "#!/bin/first\n"}), "a/second": boot(t, map[string]string{"init": "#!/bin/second\n"}),
	})
	s, err := Examine(r, size, Options{Kernel: "/a/kernel", Initrd: []string{"/a/first", "/a/second"}, Cmdline: `medium={device} name="two words"`, Append: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Family != "other" || s.Cmdline != `medium={device} name="two words" x` || string(s.Init) != "#!/bin/second\n" || len(s.Initrd) != 2 {
		t.Errorf("%s, %q, init %q", s.Family, s.Cmdline, s.Init)
	}
	r, size = makeISO(t, map[string]string{"live/vmlinuz": vmlinuz("6.12.1"), "live/initrd.img": boot(t, debian)})
	if s, err = Examine(r, size, Options{}); err != nil || s.Cmdline != "boot=live live-media={device}" {
		t.Errorf("without a menu: %+v, %v", s, err)
	}
}

// TestKeys: what lets people in becomes one more initrd.
func TestKeys(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"live-boot":   {debian, []string{"scripts/init-bottom/ORDER", "farboot/authorized_keys", "scripts/init-bottom/farboot"}},
		"dracut-live": {map[string]string{"init": "x", "sbin/dmsquash-live-root": "x", "usr/lib/dracut/hooks/pre-pivot": "/"}, []string{"farboot/authorized_keys", "usr/lib/dracut/hooks/pre-pivot/90-farboot.sh"}},
	} {
		r, size := makeISO(t, map[string]string{"live/vmlinuz": vmlinuz("6.12.1"), "live/initrd.img": boot(t, c.files)})
		s, err := Examine(r, size, Options{Live: Live{SSHKeys: []string{"ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"}}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, f := range s.Layer {
			got = append(got, f.Path)
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			switch path.Base(f.Path) {
			case "ORDER":
				if want := "/scripts/init-bottom/udev \"$@\"\n/scripts/init-bottom/farboot \"$@\"\n"; string(text) != want {
					t.Errorf("%s: order %q", name, text)
				}
			case "authorized_keys":
				if string(text) != "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n" {
					t.Errorf("%s: keys %q", name, text)
				}
			default:
				runKeys(t, name, string(text))
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// runKeys runs the script as the initramfs would, and looks for the keys.
func runKeys(t *testing.T, name, text string) {
	t.Helper()
	dir := t.TempDir()
	text = strings.ReplaceAll(text, "/farboot/authorized_keys", filepath.Join(dir, "keys"))
	if err := os.WriteFile(filepath.Join(dir, "keys"), []byte("key\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "a root")
	oracle.Output(t, "env", "rootmnt="+root, "NEWROOT="+root, "sh", "-eu", filepath.Join(dir, "script"), "")
	for _, home := range []string{"root", "etc/skel"} {
		info, err := os.Stat(filepath.Join(root, home, ".ssh/authorized_keys"))
		if err != nil || info.Mode() != 0o600 || info.Size() != 4 {
			t.Errorf("%s: %s: %v, %v", name, home, info, err)
		}
	}
}

// TestCannot: what would not start is refused at the desk, with the reason.
func TestCannot(t *testing.T) {
	good := map[string]string{"live/vmlinuz": vmlinuz("6.12.1"), "live/initrd.img": boot(t, debian)}
	for name, c := range map[string]struct {
		name, text string
		o          Options
		want       string
	}{
		"no kernel":            {"live/vmlinuz", "\x7fELF", Options{}, "/live/vmlinuz is not a kernel for x86"},
		"a strange release":    {"live/vmlinuz", vmlinuz("../../6.1"), Options{}, "is not a kernel for x86"},
		"no initrd":            {"live/initrd.img", "", Options{}, "/live/initrd.img: not a regular file with anything in it"},
		"damaged initrd":       {"live/initrd.img", "something else", Options{}, "/live/initrd.img: not an initramfs"},
		"no init":              {"live/initrd.img", boot(t, map[string]string{"linuxrc": "x"}), Options{}, "its initrd has no /init"},
		"init leads nowhere":   {"live/initrd.img", boot(t, map[string]string{"init": "-> sbin/init"}), Options{}, "/init of its initrd is no program"},
		"unknown family":       {"live/initrd.img", boot(t, map[string]string{"init": "x"}), Options{}, "nothing that is known to look for a live system's medium"},
		"unknown option":       {"live/initrd.img", boot(t, map[string]string{"init": "x", "hooks/archiso": "x"}), Options{Live: Live{Timezone: "UTC"}}, `the family "archiso" has no parameter for "timezone"`},
		"keys for nobody":      {"live/initrd.img", boot(t, map[string]string{"init": "x", "hooks/archiso": "x"}), Options{Live: Live{SSHKeys: []string{"x"}}}, `how the family "archiso" takes keys`},
		"no order of scripts":  {"live/initrd.img", boot(t, map[string]string{"init": "x", "scripts/live": "x"}), Options{Live: Live{SSHKeys: []string{"x"}}}, "no /scripts/init-bottom/ORDER"},
		"a kernel that is not": {"readme", "x", Options{Kernel: "/nothing", Initrd: []string{"/live/initrd.img"}}, "/nothing"},
		"a long line":          {"readme", "x", Options{Append: strings.Repeat("x", 3000)}, "command line"},
	} {
		files := map[string]string{}
		for n, text := range good {
			files[n] = text
		}
		files[c.name] = c.text
		r, size := makeISO(t, files)
		if _, err := Examine(r, size, c.o); err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrCannot) && !errors.Is(err, initrd.ErrMalformed) && name != "a long line" {
			t.Errorf("%s: %v\nwant %q", name, err, c.want)
		}
	}
	r, size := makeISO(t, map[string]string{"readme": "x"})
	if _, err := Examine(r, size, Options{}); !errors.Is(err, ErrCannot) || !strings.Contains(err.Error(), "no menu of a bootloader") {
		t.Errorf("an ISO of files: %v", err)
	}
}
