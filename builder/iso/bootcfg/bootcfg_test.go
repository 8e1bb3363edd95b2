package bootcfg

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// medium is a medium of configuration files.
type medium map[string]string

func (m medium) reader() Reader {
	return Reader{
		Read: func(name string, max int64) ([]byte, error) {
			text, ok := m[name]
			if !ok || int64(len(text)) > max {
				return nil, fs.ErrNotExist
			}
			return []byte(text), nil
		},
		List: func(dir string) ([]string, error) {
			var names []string
			for name := range m {
				if path.Dir(name) == dir {
					names = append(names, path.Base(name))
				}
			}
			slices.Sort(names)
			return names, nil
		},
	}
}

// TestFind reads what distributions write, shortened.
func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		medium medium
		want   []Choice
	}{
		"live-build": {medium{
			"/boot/grub/loopback.cfg": "source /boot/grub/grub.cfg\n",
			"/boot/grub/grub.cfg": `source /boot/grub/config.cfg

# Live boot
menuentry "Live system (amd64)" --hotkey=l {
	linux	/live/vmlinuz-6.1.0-37-amd64 boot=live components quiet splash findiso=${iso_path}
	initrd	/live/initrd.img-6.1.0-37-amd64
}
menuentry "Live system (amd64 fail-safe mode)" {
	linux	/live/vmlinuz-6.1.0-37-amd64 boot=live components memtest noapic noapm nodma nomce nosmp nosplash vga=788
	initrd	/live/initrd.img-6.1.0-37-amd64
}
submenu 'Utilities...' --hotkey=u {
	source /boot/grub/theme.cfg
	if [ "${grub_platform}" = "efi" ]; then
		menuentry "UEFI Firmware Settings" { fwsetup }
	fi
}
`,
			"/boot/grub/config.cfg": "set default=0\nif loadfont $prefix/dejavu.pf2 ; then\n  set gfxmode=800x600\nfi\n",
		}, []Choice{
			{"Live system (amd64)", "/live/vmlinuz-6.1.0-37-amd64", []string{"/live/initrd.img-6.1.0-37-amd64"}, "boot=live components quiet splash", "/boot/grub/grub.cfg"},
			{"Live system (amd64 fail-safe mode)", "/live/vmlinuz-6.1.0-37-amd64", []string{"/live/initrd.img-6.1.0-37-amd64"}, "boot=live components memtest noapic noapm nodma nomce nosmp nosplash vga=788", "/boot/grub/grub.cfg"},
		}},
		"Ubuntu": {medium{
			"/boot/grub/grub.cfg": `set timeout=30
loadfont unicode
set menu_color_normal=white/black
menuentry "Try or Install Ubuntu" {
	set gfxpayload=keep
	linux	/casper/vmlinuz  --- quiet splash
	initrd	/casper/initrd
}
grub_platform
if [ "$grub_platform" = "efi" ]; then
menuentry 'Boot from next volume' {
	exit 1
}
fi
`,
			"/boot/grub/loopback.cfg": `menuentry "Try or Install Ubuntu" {
	set gfxpayload=keep
	linux	/casper/vmlinuz  iso-scan/filename=${iso_path} --- quiet splash
	initrd	/casper/initrd
}
`,
		}, []Choice{{"Try or Install Ubuntu", "/casper/vmlinuz", []string{"/casper/initrd"}, "quiet splash", "/boot/grub/loopback.cfg"}}},
		"Fedora": {medium{"/boot/grub2/grub.cfg": `set default="1"
function load_video {
  insmod all_video
}
menuentry 'Start Fedora' --class fedora --class gnu-linux --class gnu --class os {
	linux ($root)/boot/x86_64/loader/linux quiet rhgb root=live:CDLABEL=Fedora-WS-Live-41 rd.live.image
	initrd ($root)/boot/x86_64/loader/initrd
}
menuentry 'Test this media & start Fedora' --class fedora {
	linuxefi /images/pxeboot/vmlinuz root=live:CDLABEL=Fedora-WS-Live-41 rd.live.image rd.live.check "name=two words"
	initrdefi /images/pxeboot/initrd.img /second.img
}
`}, []Choice{
			{"Test this media & start Fedora", "/images/pxeboot/vmlinuz", []string{"/images/pxeboot/initrd.img", "/second.img"}, `root=live:CDLABEL=Fedora-WS-Live-41 rd.live.image rd.live.check name="two words"`, "/boot/grub2/grub.cfg"},
			{"Start Fedora", "/boot/x86_64/loader/linux", []string{"/boot/x86_64/loader/initrd"}, "quiet rhgb root=live:CDLABEL=Fedora-WS-Live-41 rd.live.image", "/boot/grub2/grub.cfg"},
		}},
		"archiso": {medium{
			"/syslinux/syslinux.cfg": "DEFAULT loadconfig\n\nLABEL loadconfig\n  CONFIG archiso.cfg\n  APPEND ../\n",
			"/loader/entries/01-archiso-linux.conf": `title    Arch Linux install medium (x86_64, UEFI)
sort-key 01
linux    /arch/boot/x86_64/vmlinuz-linux
initrd   /arch/boot/x86_64/initramfs-linux.img
options  archisobasedir=arch archisosearchuuid=2024-01-01-00-00-00-00
`}, []Choice{{"Arch Linux install medium (x86_64, UEFI)", "/arch/boot/x86_64/vmlinuz-linux", []string{"/arch/boot/x86_64/initramfs-linux.img"}, "archisobasedir=arch archisosearchuuid=2024-01-01-00-00-00-00", "/loader/entries/01-archiso-linux.conf"}}},
		"ISOLINUX": {medium{
			"/isolinux/isolinux.cfg": "include menu.cfg\ndefault vesamenu.c32\nprompt 0\ntimeout 0\nAPPEND global words\n",
			"/isolinux/menu.cfg":     "menu hshift 0\nmenu title Boot menu\ninclude stdmenu.cfg\nmenu include live.cfg \n",
			"/isolinux/live.cfg": `label memtest
	kernel memtest.c32
label first
	menu label ^First
	linux /live/vmlinuz
	append initrd=/live/initrd.img,/live/more.img boot=live ---
LABEL second
	MENU LABEL Second
	MENU DEFAULT
	KERNEL vmlinuz
	INITRD initrd.gz
`}, []Choice{
			{"Second", "/isolinux/vmlinuz", []string{"/isolinux/initrd.gz"}, "global words", "/isolinux/live.cfg"},
			{"First", "/live/vmlinuz", []string{"/live/initrd.img", "/live/more.img"}, "boot=live", "/isolinux/live.cfg"},
		}},
		"variables": {medium{"/boot/grub/grub.cfg": `set linux_opts="quiet loglevel=3"
set kernel='/boot/vmlinuz' ; set default=Second
menuentry "First" { linux $kernel a=1 ; initrd /i }
menuentry "Second" {
	linux ${kernel} $linux_opts \
	  more=\"x\" $unset root=$nothing
	initrd /i
}
`}, []Choice{
			{"Second", "/boot/vmlinuz", []string{"/i"}, `quiet loglevel=3 more="x"`, "/boot/grub/grub.cfg"},
			{"First", "/boot/vmlinuz", []string{"/i"}, "a=1", "/boot/grub/grub.cfg"},
		}},
		"circles":  {medium{"/boot/grub/grub.cfg": "source /boot/grub/grub.cfg\n", "/isolinux.cfg": "include isolinux.cfg\n"}, nil},
		"nothing":  {medium{"/boot/grub/grub.cfg": "menuentry x { chainloader /x }\n"}, nil},
		"too much": {medium{"/boot/grub/grub.cfg": strings.Repeat("#", maxFile) + "\nmenuentry x { linux /x }\n"}, nil},
	} {
		if diff := cmp.Diff(c.want, Find(c.medium.reader())); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("menuentry 'a b' --class x { linux ($root)/x a=${iso_path} \"b c\" ; initrd /i }\nset default=1\nif x; then source /y; fi\n")
	f.Add("include y\ndefault l\nlabel l\n menu label ^L\n kernel x\n append initrd=/i,j a -- b\n")
	f.Add("title x\nlinux /x\ninitrd /i\noptions a b\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"/boot/grub/grub.cfg", "/isolinux.cfg", "/loader/entries/x.conf"} {
			for _, c := range Find(medium{name: text, "/y": text, "/boot/grub/y": text}.reader()) {
				for _, p := range append(c.Initrd, c.Kernel) {
					if !path.IsAbs(p) || path.Clean(p) != p {
						t.Errorf("%s: path %q", name, p)
					}
				}
				if strings.Contains(c.Cmdline, "\n") && name != "/boot/grub/grub.cfg" {
					t.Errorf("%s: line %q", name, c.Cmdline)
				}
			}
		}
	})
}
