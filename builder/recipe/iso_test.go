package recipe_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
)

const siteWithISO = `kind: site
images:
  live: {file: live.iso}
  root: {packages: [nginx-light, systemd-sysv], files: {etc/hello: {file: hello}}, drop: [usr/share/doc]}
entries:
  desktop:
    title: A live system
    iso:
      image: live
      append: console=ttyS0
      options: {lang: de_DE.UTF-8, keyboard: de, timezone: Europe/Vienna, hostname: reading-room, username: anna, ssh_key_files: [{file: keys}]}
      modules: {deb: linux-image-6.1.0-37-amd64}
      cache: {label: DATA, size: 4096}
      memory: 768
      network: true
  web:
    title: A web server
    image:
      image: root
      kernel: {deb: linux-image-amd64}
      cmdline: console=ttyS0
      init: /sbin/init
      overlay: {label: farboot-data}
      copy: ram
      watchdog: 300
default: [desktop]
`

// TestISO: what live systems and images are made of is locked, and their kernels are
// known as such.
func TestISO(t *testing.T) {
	r, err := recipe.Parse("site.yaml", []byte(siteWithISO))
	if err != nil {
		t.Fatal(err)
	}
	var inputs []string
	for _, in := range r.Inputs() {
		inputs = append(inputs, in.Name())
	}
	want := []string{"deb:linux-image-6.1.0-37-amd64", "file:keys", "deb:linux-image-amd64", "file:live.iso", "file:hello"}
	if diff := cmp.Diff(want, inputs); diff != "" {
		t.Errorf("inputs (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"linux-image-6.1.0-37-amd64", "linux-image-amd64"}, r.Kernels()); diff != "" {
		t.Errorf("kernels (-want +got)\n%s", diff)
	}
	box := r.Toolboxes()[r.Site.Images["root"].RootName("root")]
	if len(box.Packages) != 2 || len(box.Drop) != 1 || !slices.Equal([]string{r.Site.Images["live"].RootName("live")}, []string{""}) {
		t.Errorf("root is made of %+v", box)
	}
	for name, want := range map[string]string{"desktop": "live", "web": "root"} {
		e, err := r.Site.Entries[name].Manifest(maker{})
		if err != nil {
			t.Fatal(err)
		}
		if e.Iso != nil && e.Iso.Family != want || e.Image != nil && e.Image.Fstype != want || (e.Iso == nil) == (e.Image == nil) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestRefusalsOfISO holds one mistake a row.
func TestRefusalsOfISO(t *testing.T) {
	for _, m := range []mistake{
		{"image", siteWithISO, "image: live", "image: life", `x.yaml:9: entries.desktop.iso.image: no image is called "life"`, `did you mean "live"?`},
		{"no images", siteWithISO, "image: root", "image: other", `entries.web.image.image: no image is called "other"`, `images stand under "images:"`},
		{"kernel alone", siteWithISO, "append: console=ttyS0", "kernel: /live/vmlinuz", `kernel needs initrd and cmdline`, `say all three`},
		{"relative kernel", siteWithISO, "append: console=ttyS0", "kernel: live/vmlinuz\n      initrd: [/i]\n      cmdline: x", `iso.kernel: "live/vmlinuz" is no absolute path`, ``},
		{"relative initrd", siteWithISO, "append: console=ttyS0", "initrd: [/live/../i]", `iso.initrd[0]: "/live/../i" is no absolute path`, ``},
		{"command line", siteWithISO, "append: console=ttyS0", `cmdline: 'a="b'`, `iso.cmdline: command line "a=\"b": a double quote`, ``},
		{"language", siteWithISO, "lang: de_DE.UTF-8", `lang: "de DE"`, `options.lang: "de DE" is not letters`, `de_DE.UTF-8`},
		{"zone", siteWithISO, "timezone: Europe/Vienna", "timezone: /etc", `options.timezone: timezone "/etc"`, ``},
		{"host", siteWithISO, "hostname: reading-room", "hostname: -x", `options.hostname: hostname "-x"`, ``},
		{"keys", siteWithISO, "ssh_key_files: [{file: keys}]", "ssh_keys: [x]", `options.ssh_keys[0]:`, `a line of`},
		{"an option of nobody", siteWithISO, "username: anna", "usernam: anna", `options.usernam: unknown key`, `did you mean "username"?`},
		{"modules of a file", siteWithISO, "modules: {deb: linux-image-6.1.0-37-amd64}", "modules: {file: x}", `iso.modules: want a package with a kernel`, ``},
		{"kernel of a file", siteWithISO, "kernel: {deb: linux-image-amd64}", "kernel: {deb: linux-image-amd64, file: boot/vmlinuz}", `image.kernel: want a package with a kernel`, ``},
		{"cache", siteWithISO, "size: 4096", "size: 1", `iso.cache: cache: 1 MiB`, ``},
		{"memory", siteWithISO, "memory: 768", "memory: -1", `iso.memory: -1 is not between`, ``},
		{"init", siteWithISO, "init: /sbin/init", "init: init", `image.init: init: path "init"`, ``},
		{"overlay", siteWithISO, "label: farboot-data", "label: seventeen-letters", `image.overlay: overlay: label`, `mkfs.ext4`},
		{"copy", siteWithISO, "copy: ram", "copy: disk", `image.copy: copy "disk"`, ``},
		{"watchdog", siteWithISO, "watchdog: 300", "watchdog: 3", `image.watchdog: watchdog of 3 seconds`, ``},
		{"packages and a file", siteWithISO, "{packages: [nginx-light,", "{file: x, packages: [nginx-light,", `images.root: packages exclude deb, url and file`, ``},
		{"files without packages", siteWithISO, "{file: live.iso}", "{file: live.iso, drop: [x]}", `images.live: files, alternatives and drop are for images of packages`, ``},
		{"package", siteWithISO, "nginx-light", "Nginx", `images.root.packages[0]: "Nginx": not a package's name`, ``},
		{"a url of packages", siteWithISO, "drop: [usr/share/doc]", "format: url", `images.root.format: only an input with url`, ``},
	} {
		t.Run(m.name, m.refused)
	}
}
