package recipe_test

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
)

// maker makes objects of names.
type maker struct{ err error }

func of(name string) object.Ref { return object.OfBytes([]byte(name)) }

func (m maker) Object(c recipe.Content) (object.Ref, error) {
	if c.Text != "" {
		return of("text:" + string(c.Text)), m.err
	}
	return of(c.Name()), m.err
}

func (m maker) Program(c recipe.Content) (object.Ref, error) { return m.Object(c) }

func (m maker) Text(in recipe.Input) (string, error) {
	return "# who may come in\n\n" + publicKey(1) + "  anna@desk\r\n" + publicKey(2), m.err
}

func (m maker) Layer(files map[string]recipe.ModeFile) (object.Ref, error) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		names = append(names, fmt.Sprintf("%s %v", name, files[name].Perm()))
	}
	return of("layer:" + strings.Join(names, ",")), m.err
}

func (m maker) Image(in recipe.Input) (recipe.Image, error) {
	return recipe.Image{Ref: of(in.Name()), Index: of("index of " + in.Name()), Format: "zst"}, m.err
}

func (m maker) Chunked(in recipe.SiteImage) (chunks.Image, error) {
	return chunks.Image{Index: of("index of " + in.Name()), Zst: &chunks.Zst{File: of("packed " + in.Name()), Table: of("table of " + in.Name())}}, m.err
}

func (m maker) ISO(e *recipe.IsoEntry) (*manifest.Iso, error) {
	return &manifest.Iso{Family: e.Image}, m.err
}

func (m maker) Root(e *recipe.ImageEntry) (*manifest.Image, error) {
	return &manifest.Image{Fstype: e.Image}, m.err
}

func (m maker) Toolbox(name string) (object.Ref, error) { return of("toolbox:" + name), m.err }
func (m maker) Kernel() (object.Ref, error)             { return of("kernel"), m.err }
func (m maker) Modules(names []string) (object.Ref, error) {
	return of(fmt.Sprintf("modules:%q", names)), m.err
}

// publicKey returns the n-th of some keys.
func publicKey(n int) string {
	return []string{
		1: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEw6VSDgdXPuB1YnhE5SJt9XtQHBH0G3YQFTM+iF1UX",
		2: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJMWiZFjPMx0zwapslv83buLGCmMyRnMsGUAs4AGNpZj",
	}[n]
}

// siteThatWorks has every key that issue 5 gave to sites.
const siteThatWorks = `kind: site
menu: {seconds: 30, entries: [rescue]}
limits: {network: 20, manifest: 30, stall: 5, object: 600, attempts: 2, rounds: 1, pause: 10}
files:
  data.tar.gz: {file: data.tar.gz}
  motd: {text: "hello\n"}
toolboxes:
  small:
    packages: [e2fsprogs, openssh-client]
    files: {usr/local/bin/repair: {file: repair.sh, mode: "0755"}}
    alternatives: {editor: /usr/bin/nano}
    drop: [usr/share/perl]
entries:
  repair:
    title: Repair the disk
    script:
      program:
        text: |
          #!/bin/sh
          	e2fsck -p "$DISK"
      args: [--yes, two words]
      env: {DISK: /dev/sda, COUNT: 7}
      toolbox: small
      seconds: 600
      then: reboot
  run:
    title: Run a file
    script: {program: {file: run.sh}}
  rescue:
    title: Rescue
    rescue:
      keys: ["` + "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEw6VSDgdXPuB1YnhE5SJt9XtQHBH0G3YQFTM+iF1UX" + `"]
      toolbox: small
      port: 2222
      seconds: 3600
      then: local
  team:
    title: Rescue by the team
    rescue: {key_files: [{file: team.pub}], password: "$6$rounds=1000$saltsalt$/IiX/CoEcxCZ9SksEXnbjfCT1LGvD4z5OpJkaFYl/T37OAwuKZ8I8BixDhruhPLkw6lS7dw/6wQWgQnGo7lLg/", host_key: machine}
  image:
    title: Write the image
    flash:
      image: {file: disk.img.zst}
      disk: {serial: S3Z8NB0K, id: naa.5000, min_size: 20GB, max_size: 1TiB, pick: smallest}
      grow: true
      files:
        - {partition: 1, path: /etc/hostname, text: "web1\n"}
        - {partition: 2, path: /seed, file: seed.bin, mode: "0600"}
      then: local
      again: true
  installer:
    title: Installer
    linux:
      kernel: {file: linux}
      initrd: [{file: initrd.gz}]
      files:
        preseed.cfg: {file: preseed.cfg}
        late.sh: {text: "#!/bin/sh\n", mode: "0755"}
machines:
  - match: {serial: B5QM5Y1}
    boot: [repair]
    menu: {entries: [image]}
    networks: [{vlan: 7, addresses: [192.0.2.7/24]}]
    env: {HOST: web1}
groups:
  rack:
    match: [{serial: B5QM5Y2}]
    boot: [run]
    env: {RACK: b}
default: [rescue]
`

// TestSiteThatWorks: all of it becomes what a manifest has.
func TestSiteThatWorks(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(siteThatWorks))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]manifest.Entry{}
	for name, e := range r.Site.Entries {
		if got[name], err = e.Manifest(maker{}); err != nil {
			t.Fatal(err)
		}
		if err := got[name].Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	small, seed := of("toolbox:small"), of("file:seed.bin")
	want := map[string]manifest.Entry{
		"repair": {Title: "Repair the disk", Script: &manifest.Script{
			Program: of("text:#!/bin/sh\n\te2fsck -p \"$DISK\"\n"), Args: []string{"--yes", "two words"},
			Env: manifest.Env{"DISK": "/dev/sda", "COUNT": "7"}, Toolbox: &small, Seconds: 600, Then: "reboot",
		}},
		"run":    {Title: "Run a file", Script: &manifest.Script{Program: of("file:run.sh")}},
		"rescue": {Title: "Rescue", Rescue: &manifest.Rescue{Keys: []string{publicKey(1)}, Toolbox: &small, Port: 2222, Seconds: 3600, Then: "local"}},
		"team":   {Title: "Rescue by the team", Rescue: &manifest.Rescue{Keys: []string{publicKey(1) + " anna@desk", publicKey(2)}, Password: "$6$rounds=1000$saltsalt$/IiX/CoEcxCZ9SksEXnbjfCT1LGvD4z5OpJkaFYl/T37OAwuKZ8I8BixDhruhPLkw6lS7dw/6wQWgQnGo7lLg/", HostKey: "machine"}},
		"image": {Title: "Write the image", Flash: &manifest.Flash{
			Image: of("file:disk.img.zst"), Format: "zst", Index: of("index of file:disk.img.zst"),
			Disk: manifest.Disk{Serial: "S3Z8NB0K", ID: "naa.5000", MinSize: 20e9, MaxSize: 1 << 40, Pick: "smallest"}, Grow: true,
			Files: []manifest.FlashFile{
				{Partition: 1, Path: "/etc/hostname", Content: "web1\n"}, {Partition: 2, Path: "/seed", Mode: 0o600, Object: &seed},
			},
			Then: "local", Again: true,
		}},
		"installer": {Title: "Installer", Linux: &manifest.Linux{
			Kernel: of("file:linux"), Initrd: []object.Ref{of("file:initrd.gz"), of("layer:late.sh -rwxr-xr-x,preseed.cfg -rw-r--r--")},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	var machines []manifest.Machine
	for _, m := range r.Site.AllMachines() {
		machines = append(machines, m.Manifest())
	}
	wantMachines := []manifest.Machine{
		{
			Match: manifest.Match{Serial: "B5QM5Y1"}, Boot: []string{"repair"}, Menu: &manifest.Menu{Seconds: 10, Entries: []string{"image"}},
			Networks: []netconf.Network{{VLAN: 7, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}}}, Env: manifest.Env{"HOST": "web1"},
		},
		{Match: manifest.Match{Serial: "B5QM5Y2"}, Boot: []string{"run"}, Env: manifest.Env{"RACK": "b"}},
	}
	if diff := cmp.Diff(wantMachines, machines, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
	var inputs []string
	for _, in := range r.Inputs() {
		inputs = append(inputs, in.Name())
		if in.Line == 0 {
			t.Errorf("%s has no line", in.Name())
		}
	}
	wantInputs := "file:disk.img.zst file:seed.bin file:linux file:initrd.gz file:preseed.cfg file:run.sh file:team.pub file:data.tar.gz file:repair.sh"
	if got := strings.Join(inputs, " "); got != wantInputs {
		t.Errorf("inputs %s; want %s", got, wantInputs)
	}
	menu := r.Site.Menu.Manifest()
	if diff := cmp.Diff(&manifest.Menu{Seconds: 30, Entries: []string{"rescue"}}, menu); diff != "" {
		t.Error(diff)
	}
	if box := r.Toolboxes()["small"]; len(box.Packages) != 2 || box.Alternatives["editor"] != "/usr/bin/nano" {
		t.Errorf("toolbox %+v", box)
	}
}

// TestShipped: the recipes that the project ships are right.
func TestShipped(t *testing.T) {
	names, err := filepath.Glob("../../recipes/*.yaml")
	if err != nil || len(names) < 5 {
		t.Fatalf("%q, %v", names, err)
	}
	for _, name := range names {
		if _, err := recipe.Load(name); err != nil {
			t.Error(err)
		}
	}
}

// TestBadKeyFile names file and line.
func TestBadKeyFile(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(siteThatWorks))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Site.Entries["team"].Manifest(badKeys{})
	if err == nil || !strings.HasPrefix(err.Error(), "file:team.pub: line 2: ") {
		t.Errorf("Manifest = %v", err)
	}
}

type badKeys struct{ maker }

func (badKeys) Text(recipe.Input) (string, error) { return "\nssh-dss AAAA\n", nil }

// mediumThatWorks has every key that issue 5 gave to media.
const mediumThatWorks = medium + `toolbox:
  packages: [e2fsprogs]
  files: {etc/motd: {file: motd}}
limits: {rounds: 1}
fallback:
  - {title: Rescue, rescue: {keys: ["` + "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEw6VSDgdXPuB1YnhE5SJt9XtQHBH0G3YQFTM+iF1UX" + `"]}}
  - {title: Repair, script: {program: {text: "#!/bin/sh\n"}}}
`

func TestMediumThatWorks(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(mediumThatWorks))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{r.Medium.Toolbox.Place, r.Toolboxes()[""].Packages, r.Medium.Limits.Rounds, len(r.Inputs()), r.Inputs()[2].Name()}
	if diff := cmp.Diff([]any{"memory", []string{"e2fsprogs"}, 1, 3, "file:motd"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestLimitsAreTheAgents: what a recipe calls tighter is.
func TestLimitsAreTheAgents(t *testing.T) {
	own := boot.DefaultLimits()
	for name, most := range map[string]int{
		"network": int(own.Network.Lease.Seconds()), "manifest": int(own.Manifest.Seconds()), "stall": int(own.Objects.Stall.Seconds()),
		"attempts": own.Objects.Attempts, "rounds": own.Fallback, "pause": int(own.BackoffMax.Seconds()),
	} {
		for value, good := range map[int]bool{most: true, most + 1: false} {
			_, err := recipe.Parse("x.yaml", fmt.Appendf(nil, "%slimits: {%s: %d}\n", medium, name, value))
			if (err == nil) != good {
				t.Errorf("%s: %d: %v; the agent's own is %d", name, value, err, most)
			}
		}
	}
}

// TestRefusalsOfWorks holds one mistake a row in what works on machines.
func TestRefusalsOfWorks(t *testing.T) {
	for _, m := range []mistake{
		{"menu's seconds", siteThatWorks, "seconds: 30,", "seconds: 4000,", `x.yaml:2: menu.seconds: 4000 is not between 1 and 3600`, ``},
		{"menu's entry", siteThatWorks, "entries: [rescue]", "entries: [resuce]", `x.yaml:2: menu.entries[0]: no entry is called "resuce"`, `did you mean "rescue"?`},
		{"machine's menu", siteThatWorks, "menu: {entries: [image]}", "menu: {entries: [image, image]}", `machines[0].menu.entries[1]: "image" stands twice`, ``},
		{"looser limit", siteThatWorks, "network: 20", "network: 90", `x.yaml:3: limits.network: 90 is not between 5 and 60`, `tightened, not loosened`},
		{"limit too tight", siteThatWorks, "stall: 5", "stall: 1", `limits.stall: 1 is not between 2 and 30`, ``},
		{"negative limit", siteThatWorks, "pause: 10", "pause: -1", `limits.pause: -1`, ``},
		{"unknown limit", siteThatWorks, "pause: 10", "pauze: 10", `limits.pauze: unknown key`, `did you mean "pause"?`},
		{"file's name", siteThatWorks, "data.tar.gz: {", "Data: {", `x.yaml:5: files.Data: name "Data"`, ``},
		{"empty file", siteThatWorks, `{text: "hello\n"}`, `{text: ""}`, `x.yaml:6: files.motd: want one of deb, url, file and text`, `{text: "..."}`},
		{"text and file", siteThatWorks, `{text: "hello\n"}`, `{text: "hello\n", file: motd}`, `files.motd: text excludes deb, url and file`, ``},
		{"text of controls", siteThatWorks, `{text: "hello\n"}`, `{text: "hello\e[2J"}`, `files.motd.text: character U+001B`, ``},
		{"file outside", siteThatWorks, `{file: data.tar.gz}`, `{file: ../data.tar.gz}`, `files.data.tar.gz.file: "../data.tar.gz" is not a clean`, ``},
		{"empty toolbox", siteThatWorks, "packages: [e2fsprogs, openssh-client]", "packages: []", `x.yaml:9: toolboxes.small.packages: an empty toolbox`, `[e2fsprogs`},
		{"package's name", siteThatWorks, "[e2fsprogs,", `["e2fsprogs; id",`, `toolboxes.small.packages[0]: "e2fsprogs; id": not a package's name`, ``},
		{"package twice", siteThatWorks, "[e2fsprogs,", `[openssh-client,`, `toolboxes.small.packages[1]: "openssh-client" stands twice`, ``},
		{"toolbox's name", siteThatWorks, "  small:\n    packages", "  Small:\n    packages", `toolboxes.Small: name`, ``},
		{"toolbox's file", siteThatWorks, "usr/local/bin/repair:", "/usr/local/bin/repair:", `toolboxes.small.files./usr/local/bin/repair: "/usr/local/bin/repair" is not a clean`, ``},
		{"toolbox's drop", siteThatWorks, "[usr/share/perl]", "[../perl]", `toolboxes.small.drop[0]: "../perl" is not`, ``},
		{"alternative", siteThatWorks, "/usr/bin/nano", "nano", `toolboxes.small.alternatives.editor: want a command and an absolute path`, `/usr/bin/nano`},
		{"unknown toolbox", siteThatWorks, "toolbox: small\n      seconds: 600", "toolbox: smal\n      seconds: 600", `entries.repair.script.toolbox: no toolbox is called "smal"`, `did you mean "small"?`},
		{"text without an interpreter", siteThatWorks, "          #!/bin/sh\n", "          set -e\n", `x.yaml:18: entries.repair.script.program: nothing says what is to run the text`, `"#!/bin/sh"`},
		{"no program", siteThatWorks, "{program: {file: run.sh}}", "{}", `entries.run.script.program: want one of deb, url, file and text`, ``},
		{"argument as text", siteThatWorks, "[--yes, two words]", "--yes", `entries.repair.script.args: want a list`, `[--yes]`},
		{"variable", siteThatWorks, "DISK: /dev", "disk: /dev", `entries.repair.script.env: variable "disk"`, `DISK: sda`},
		{"path", siteThatWorks, "DISK: /dev", "PATH: /dev", `entries.repair.script.env: variable "PATH" is not for manifests`, ``},
		{"script's seconds", siteThatWorks, "seconds: 600", "seconds: 604801", `entries.repair.script.seconds: 604801 is not between 1 and 604800`, ``},
		{"then", siteThatWorks, "then: reboot", "then: rebot", `entries.repair.script.then: "rebot" is not one of next, local, reboot, off, wait`, `did you mean "reboot"?`},
		{"host key", siteThatWorks, "host_key: machine", "host_key: stick", `entries.team.rescue.host_key: "stick" is not one of boot, machine`, ``},
		{"plain password", siteThatWorks, `password: "$6$rounds`, `password: "$1$rounds`, `entries.team.rescue.password: not a password hash that can be used`, `mkpasswd`},
		{"private key", siteThatWorks, `keys: ["ssh-ed25519 AAAA`, `keys: ["-----BEGIN OPENSSH PRIVATE KEY-----`, `entries.rescue.rescue.keys[0]: not a key to log in with: this is a private key`, `.pub`},
		{"options", siteThatWorks, `keys: ["ssh-ed25519`, `keys: ["no-pty ssh-ed25519`, `entries.rescue.rescue.keys[0]: not a key`, ``},
		{"no keys", siteThatWorks, "{key_files: [{file: team.pub}], password: \"$6$rounds=1000$saltsalt$/IiX/CoEcxCZ9SksEXnbjfCT1LGvD4z5OpJkaFYl/T37OAwuKZ8I8BixDhruhPLkw6lS7dw/6wQWgQnGo7lLg/\", host_key: machine}", "{}", `entries.team.rescue: nobody could log in`, `add "keys:`},
		{"port", siteThatWorks, "port: 2222", "port: 70000", `entries.rescue.rescue.port: 70000 is not between`, ``},
		{"idle", siteThatWorks, "seconds: 3600", "seconds: 30", `entries.rescue.rescue.seconds: 30 is not between 60 and 604800`, ``},
		{"image's package", siteThatWorks, "{file: disk.img.zst}", "{deb: image}", `entries.image.flash.image: which file of package "image"?`, ``},
		{"size", siteThatWorks, "20GB", "20", `entries.image.flash.disk.min_size: "20" is not a size`, `"20GB"`},
		{"sizes", siteThatWorks, "20GB", "20TB", `entries.image.flash.disk: disk: of 20000000000000 to`, `pick: smallest`},
		{"huge size", siteThatWorks, "20GB", "99999999TB", `"99999999TB" is not a size`, ``},
		{"pick", siteThatWorks, "pick: smallest", "pick: first", `entries.image.flash.disk: disk: pick "first"`, ``},
		{"relative path", siteThatWorks, "path: /etc/hostname", "path: etc/hostname", `x.yaml:47: entries.image.flash.files[0]: file "etc/hostname": want an absolute path`, `partition: 1`},
		{"partition", siteThatWorks, "{partition: 1,", "{partition: 0,", `entries.image.flash.files[0]: file "/etc/hostname": partition 0`, ``},
		{"file twice", siteThatWorks, "partition: 2, path: /seed", "partition: 1, path: /etc/hostname", `entries.image.flash.files[1]: "/etc/hostname" of partition 1 stands twice`, ``},
		{"mode", siteThatWorks, `mode: "0600"`, `mode: "rw"`, `entries.image.flash.files[1].mode: "rw" is not a mode`, `"0644"`},
		{"set-uid", siteThatWorks, `mode: "0600"`, `mode: "4755"`, `"4755" is not a mode`, ``},
		{"initrd's file", siteThatWorks, "preseed.cfg: {", "../preseed.cfg: {", `entries.installer.linux.files.../preseed.cfg: "../preseed.cfg" is not`, ``},
		{"machine's network", siteThatWorks, "vlan: 7", "vlan: 5000", `machines[0].networks[0]: vlan 5000`, `for example`},
		{"machine's variable", siteThatWorks, "HOST: web1", "FARBOOT_SITE: web1", `machines[0].env: variable "FARBOOT_SITE"`, ``},
		{"group's variable", siteThatWorks, "RACK: b", "rack: b", `groups.rack.env: variable "rack"`, ``},
		{"place", mediumThatWorks, "  packages: [e2fsprogs]\n", "  packages: [e2fsprogs]\n  place: stick\n", `toolbox.place: "stick" is not one of memory, medium`, ``},
		{"no toolbox", mediumThatWorks, "toolbox:\n  packages: [e2fsprogs]\n  files: {etc/motd: {file: motd}}\n", "", `fallback[0].rescue: it works in a toolbox, and the medium has none`, `toolbox: {packages`},
		{"another toolbox", mediumThatWorks, "script: {program:", "script: {toolbox: small, program:", `fallback[1].script.toolbox: a medium has one toolbox`, `leave it out`},
		{"image on a medium", mediumThatWorks, "script: {program: {text: \"#!/bin/sh\\n\"}}", "flash: {image: {file: x}}", `fallback[1].flash: an image does not lie`, `recipe of a site`},
	} {
		t.Run(m.name, m.refused)
	}
}
