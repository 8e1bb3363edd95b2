package vectors_test

import (
	"strings"

	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// loginKey is one of ssh-keygen's.
const loginKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEw6VSDgdXPuB1YnhE5SJt9XtQHBH0G3YQFTM+iF1UX"

// works adds what works on a machine, and what people choose, to the sample.
func works(x *manifest.Manifest) {
	toolbox, seed := object.OfBytes([]byte("toolbox")), object.OfBytes([]byte("seed"))
	x.Entries["repair"] = manifest.Entry{Title: "Repair", Script: &manifest.Script{
		Program: object.OfBytes([]byte("#!/bin/sh\n")), Args: []string{"--yes"}, Env: manifest.Env{"DISK": "sda"},
		Toolbox: &toolbox, Seconds: 600, Then: manifest.ThenReboot,
	}}
	x.Entries["login"] = manifest.Entry{Title: "Login", Rescue: &manifest.Rescue{Keys: []string{loginKey}, Toolbox: &toolbox, Port: 2222}}
	x.Entries["image"] = manifest.Entry{Title: "Image", Flash: &manifest.Flash{
		Image: object.OfBytes([]byte("image")), Format: "zst", Index: object.OfBytes([]byte("index")),
		Disk: manifest.Disk{Serial: "S3Z8", MinSize: 1 << 30, Pick: manifest.PickSmallest}, Grow: true,
		Files: []manifest.FlashFile{{Partition: 1, Path: "/etc/hostname", Content: "web1\n"}, {Partition: 2, Path: "/seed", Mode: 0o600, Object: &seed}},
	}}
	x.Default = []string{"repair", "login", "image"}
	x.Menu = &manifest.Menu{Seconds: 15, Entries: []string{"rescue"}}
	x.Limits = &manifest.Limits{Network: 30, Rounds: 1}
	x.Files = map[string]object.Ref{"data.tar": seed}
	x.Machines = []manifest.Machine{{
		Match: manifest.Match{Serial: "another"}, Boot: []string{"repair"}, Menu: &manifest.Menu{Seconds: 7}, Env: manifest.Env{"HOST": "web1"},
	}}
}

// workContents are manifests with scripts, rescue, images, menus and limits: good
// ones, and ones with one defect.
func (m *maker) workContents() {
	sim, all := m.base, m.manifestOf(m.base, 12, works)
	add := func(name, expect, comment string, options ...option) {
		m.t.Helper()
		m.add(name, expect, comment, sim, append([]option{all}, options...)...)
	}
	boots := releasesManifest("repair login image")
	add("works", vectors.OK, "one of each kind, a menu, limits, files and a machine's own", boots)

	text := func(name, comment, old, new string) {
		m.t.Helper()
		add(name, "malformed", comment, m.text(sim, old, new))
	}
	text("menu-unknown-entry", "a menu offers an entry that is not there", `"seconds": 15,`+"\n    \"entries\": [\n      \"rescue\"", `"seconds": 15, "entries": ["rescues"`)
	text("menu-no-time", "a menu that is over at once", `"seconds": 15`, `"seconds": 0`)
	text("menu-endless", "a menu that waits for ever", `"seconds": 15`, `"seconds": 1000000`)
	text("machine-menu-unknown-entry", "a machine's menu offers an entry that is not there", `"seconds": 7`, `"seconds": 7, "entries": ["rescues"]`)
	text("limits-negative", "a limit below zero", `"network": 30`, `"network": -30`)
	text("limits-no-number", "a limit that is no number", `"network": 30`, `"network": "30"`)
	text("script-no-hash", "a program that anybody may replace", object.OfBytes([]byte("#!/bin/sh\n")).SHA256.String(), strings.Repeat("0", 64))
	text("script-no-size", "a program of no bytes", `"size": 10`, `"size": 0`)
	text("script-escape", "an argument with an escape code for consoles", `"--yes"`, `"\u001b[2J"`)
	text("script-path", "variables must not say what runs", `"DISK=sda"`, `"PATH=/tmp"`)
	text("script-preload", "variables must not say what runs, by the linker", `"DISK=sda"`, `"LD_PRELOAD=/tmp/x"`)
	text("script-own-variable", "variables must not pass for farboot's", `"DISK=sda"`, `"FARBOOT_SITE=http://h/"`)
	text("script-variable-twice", "one reader takes the first, another the last", `"DISK=sda"`, `"DISK=sda", "DISK=sdb"`)
	text("script-endless", "a script may not run for a month", `"seconds": 600`, `"seconds": 2678400`)
	text("script-then", "what comes after it is not known", `"then": "reboot"`, `"then": "format"`)
	text("login-options", "options of a key, which are not honoured", loginKey, `command=\"id\" `+loginKey)
	text("login-no-key", "a rescue that nobody can log in to", "\""+loginKey+"\"", "")
	text("login-key-cut", "half a key", loginKey, loginKey[:60])
	text("login-key-twice", "a key stands twice", "\""+loginKey+"\"", "\""+loginKey+"\", \""+loginKey+" another\"")
	text("login-port", "there is no such port", `"port": 2222`, `"port": 65536`)
	text("image-no-index", "an image whose pieces cannot be checked", object.OfBytes([]byte("index")).SHA256.String(), strings.Repeat("0", 64))
	text("image-format", "a compression that is not known", `"format": "zst"`, `"format": "zip"`)
	text("image-no-disk", "a disk of sizes that there are not", `"min_size": 1073741824`, `"min_size": 1073741824, "max_size": 1`)
	text("image-pick", "any disk", `"pick": "smallest"`, `"pick": "any"`)
	text("image-file-outside", "a file outside of the image", `/etc/hostname`, `/etc/../../hostname`)
	text("image-file-relative", "a file somewhere", `/etc/hostname`, `etc/hostname`)
	text("image-file-setuid", "a file that gives away rights", `"mode": 384`, `"mode": 2541`)
	text("image-file-partition", "partitions begin at 1", `"partition": 1`, `"partition": 0`)
	text("files-outside", "a name that leads elsewhere", `"data.tar"`, `"../data.tar"`)
	text("machine-variable", "a machine's variables must not say what runs", `"HOST=web1"`, `"PATH=/tmp"`)
	text("machine-network", "an address of no host", `"HOST=web1"`+"\n      ]", `"HOST=web1"], "networks": [{"addresses": ["192.0.2.0/24"]}]`)
	text("machine-later-match", "for whom a record is cannot be told", `"serial": "another"`, `"serial": "another", "rack": "7"`)
	text("optional-other", "a later key that is not among those that may be passed over", `"format": 1,`, `"format": 1, "optional": ["music"], "song": 1,`)
	add("optional-known", "malformed", "a key that is known is read, whatever is said of it",
		m.text(sim, `"seconds": 15`, `"seconds": 0`), m.text(sim, `"format": 1,`, `"format": 1, "optional": ["menu"],`))
	text("optional-twice", "one reader passes over the first, another the last", `"format": 1,`, `"format": 1, "optional": ["music"], "music": 1, "music": 2,`)

	good := func(name, comment, old, new string, options ...option) {
		m.t.Helper()
		add(name, vectors.OK, comment, append([]option{m.text(sim, old, new), boots}, options...)...)
	}
	good("limits-loose", "a limit beyond the agent's own changes nothing", `"network": 30`, `"network": 86400`)
	good("limits-later", "a limit on what this program does not do", `"network": 30`, `"network": 30, "radio": 5`)
	good("menu-later-field", "a menu of which not all is known is not shown; the list is tried", `"seconds": 15`, `"seconds": 15, "password": "x"`)
	good("machine-later-field", "a record of which not all is known is for another machine", `"HOST=web1"`+"\n      ]", `"HOST=web1"], "sealed": true`)
	good("machine-later-field-own", "a record of which not all is known boots nothing, and not the default", `"HOST=web1"`+"\n      ]", `"HOST=web1"], "sealed": true`,
		m.text(sim, `"serial": "another"`, `"serial": "`+machine.Serial+`"`), releasesManifest(""))
	good("optional", "a later key that may be passed over", `"format": 1,`, `"format": 1, "optional": ["music"], "music": {"loud": true},`)
	good("script-later-field", "a script of which not all is known does not hide the others", `"seconds": 600`, `"seconds": 600, "user": "nobody"`, releasesManifest("login image"))
	good("image-later-field", "a file of an image of which not all is known", `"mode": 384`, `"mode": 384, "owner": "www"`, releasesManifest("repair login"))

	revoking := sim.Fork()
	revoking.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = append(st.Revoked.Objects, trust.RevokedObject{SHA256: object.OfBytes([]byte("toolbox")).SHA256, Reason: "CVE-2026-0001", Since: day0})
	})
	m.add("revoked-toolbox", "revoked", "what works in a revoked toolbox is refused, what needs none is not", revoking,
		m.manifestOf(revoking, 12, works), releases("image", "trust/2.json", manifest.File))
}
