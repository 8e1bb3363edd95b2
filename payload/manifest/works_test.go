package manifest

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
)

// publicKey is one of ssh-keygen's.
const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEw6VSDgdXPuB1YnhE5SJt9XtQHBH0G3YQFTM+iF1UX someone at the desk"

// TestWorksValidate breaks one thing of the sample at a time.
func TestWorksValidate(t *testing.T) {
	script := func(change func(*Script)) func(*Manifest) {
		return func(m *Manifest) { change(m.Entries["repair"].Script) }
	}
	rescue := func(change func(*Rescue)) func(*Manifest) {
		return func(m *Manifest) { change(m.Entries["rescue"].Rescue) }
	}
	flash := func(change func(*Flash)) func(*Manifest) {
		return func(m *Manifest) { change(m.Entries["image"].Flash) }
	}
	file := func(change func(*FlashFile)) func(*Manifest) {
		return flash(func(x *Flash) { change(&x.Files[0]) })
	}
	ref := object.OfBytes([]byte("x"))
	huge := object.Ref{Size: 1 << 50, SHA256: ref.SHA256}
	many := func(n int) map[string]object.Ref {
		all := map[string]object.Ref{}
		for i := range n {
			all[fmt.Sprint("f", i)] = ref
		}
		return all
	}
	for name, breakIt := range map[string]func(*Manifest){
		"no program":          script(func(x *Script) { x.Program = object.Ref{} }),
		"large program":       script(func(x *Script) { x.Program.Size = 16<<20 + 1 }),
		"many arguments":      script(func(x *Script) { x.Args = slices.Repeat([]string{"x"}, 65) }),
		"long argument":       script(func(x *Script) { x.Args[0] = strings.Repeat("x", 4097) }),
		"argument's text":     script(func(x *Script) { x.Args[0] = "a\x1b[2J" }),
		"argument's line":     script(func(x *Script) { x.Args[0] = "a\nb" }),
		"variable's name":     script(func(x *Script) { x.Env["disk"] = "x" }),
		"variable's digit":    script(func(x *Script) { x.Env["1DISK"] = "x" }),
		"variable without":    script(func(x *Script) { x.Env[""] = "x" }),
		"variable's length":   script(func(x *Script) { x.Env[strings.Repeat("X", 65)] = "x" }),
		"variable's value":    script(func(x *Script) { x.Env["DISK"] = "x\x00y" }),
		"long variable":       script(func(x *Script) { x.Env["DISK"] = strings.Repeat("x", 4097) }),
		"path":                script(func(x *Script) { x.Env["PATH"] = "/tmp" }),
		"preload":             script(func(x *Script) { x.Env["LD_PRELOAD"] = "x" }),
		"farboot's own":       script(func(x *Script) { x.Env["FARBOOT_SITE"] = "x" }),
		"no toolbox's hash":   script(func(x *Script) { x.Toolbox = &object.Ref{Size: 1} }),
		"large toolbox":       script(func(x *Script) { x.Toolbox = &huge }),
		"script's time":       script(func(x *Script) { x.Seconds = -1 }),
		"script for a month":  script(func(x *Script) { x.Seconds = 30 * 24 * 3600 }),
		"script's end":        script(func(x *Script) { x.Then = "sleep" }),
		"no keys":             rescue(func(x *Rescue) { x.Keys = nil }),
		"a plain password":    rescue(func(x *Rescue) { x.Password = "geheim" }),
		"a bad key":           rescue(func(x *Rescue) { x.Keys[0] = "ssh-ed25519 AAAA" }),
		"a key twice":         rescue(func(x *Rescue) { x.Keys = append(x.Keys, strings.Replace(publicKey, "someone", "other", 1)) }),
		"many keys":           rescue(func(x *Rescue) { x.Keys = keys(65) }),
		"host key":            rescue(func(x *Rescue) { x.HostKey = "none" }),
		"port":                rescue(func(x *Rescue) { x.Port = 65536 }),
		"negative port":       rescue(func(x *Rescue) { x.Port = -1 }),
		"rescue's toolbox":    rescue(func(x *Rescue) { x.Toolbox = &huge }),
		"short rescue":        rescue(func(x *Rescue) { x.Seconds = 59 }),
		"long rescue":         rescue(func(x *Rescue) { x.Seconds = 7*24*3600 + 1 }),
		"rescue's end":        rescue(func(x *Rescue) { x.Then = "Reboot" }),
		"no image":            flash(func(x *Flash) { x.Image = object.Ref{} }),
		"large image":         flash(func(x *Flash) { x.Image = huge }),
		"no index":            flash(func(x *Flash) { x.Index = object.Ref{} }),
		"large index":         flash(func(x *Flash) { x.Index = huge }),
		"format":              flash(func(x *Flash) { x.Format = "zip" }),
		"cast":                flash(func(x *Flash) { x.Cast = &Cast{Group: "239.255.0.1:7400", Table: ref}; x.Format = "xz" }),
		"cast's group":        flash(func(x *Flash) { x.Cast = &Cast{Group: "10.0.0.1:7400", Table: ref}; x.Format = "zst" }),
		"cast's table":        flash(func(x *Flash) { x.Cast = &Cast{Group: "239.255.0.1:7400"}; x.Format = "zst" }),
		"flash's end":         flash(func(x *Flash) { x.Then = "boot" }),
		"disk's serial":       flash(func(x *Flash) { x.Disk.Serial = "a\tb" }),
		"disk's id":           flash(func(x *Flash) { x.Disk.ID = " x" }),
		"disk's sizes":        flash(func(x *Flash) { x.Disk.MinSize = x.Disk.MaxSize + 1 }),
		"disk below nothing":  flash(func(x *Flash) { x.Disk.MinSize = -1 }),
		"disk up to nothing":  flash(func(x *Flash) { x.Disk.MinSize, x.Disk.MaxSize = 0, -1 }),
		"disk's pick":         flash(func(x *Flash) { x.Disk.Pick = "first" }),
		"many files to write": flash(func(x *Flash) { x.Files = slices.Repeat(x.Files, 40) }),
		"a file twice":        flash(func(x *Flash) { x.Files = append(x.Files, x.Files[0]) }),
		"relative path":       file(func(x *FlashFile) { x.Path = "etc/hostname" }),
		"path upwards":        file(func(x *FlashFile) { x.Path = "/etc/../hostname" }),
		"root":                file(func(x *FlashFile) { x.Path = "/" }),
		"no path":             file(func(x *FlashFile) { x.Path = "" }),
		"path's end":          file(func(x *FlashFile) { x.Path = "/etc/" }),
		"path's text":         file(func(x *FlashFile) { x.Path = "/etc/\u202e" }),
		"long path":           file(func(x *FlashFile) { x.Path = "/" + strings.Repeat("x", 1024) }),
		"partition 0":         file(func(x *FlashFile) { x.Partition = 0 }),
		"partition 129":       file(func(x *FlashFile) { x.Partition = 129 }),
		"set-uid":             file(func(x *FlashFile) { x.Mode = 0o4755 }),
		"two contents":        file(func(x *FlashFile) { x.Object = &ref }),
		"much content":        file(func(x *FlashFile) { x.Content = strings.Repeat("x", 64<<10+1) }),
		"binary content":      file(func(x *FlashFile) { x.Content = "a\x00b" }),
		"content's UTF-8":     file(func(x *FlashFile) { x.Content = "a\xffb" }),
		"file's object":       flash(func(x *Flash) { x.Files[1].Object = &object.Ref{Size: 1} }),
		"no time for a menu":  func(m *Manifest) { m.Menu.Seconds = 0 },
		"menu for ever":       func(m *Manifest) { m.Menu.Seconds = 3601 },
		"menu's entry":        func(m *Manifest) { m.Menu.Entries = []string{"nothing"} },
		"menu's entry twice":  func(m *Manifest) { m.Menu.Entries = []string{"off", "off"} },
		"machine's menu":      func(m *Manifest) { m.Machines[0].Menu = &Menu{Seconds: 1, Entries: []string{"nothing"}} },
		"machine's network":   func(m *Manifest) { m.Machines[0].Networks = []netconf.Network{{VLAN: 5000}} },
		"machine's variable":  func(m *Manifest) { m.Machines[0].Env = Env{"PATH": ""} },
		"negative limit":      func(m *Manifest) { m.Limits.Network = -1 },
		"endless limit":       func(m *Manifest) { m.Limits.Pause = 7*24*3600 + 1 },
		"file's name":         func(m *Manifest) { m.Files["../x"] = ref },
		"file's hash":         func(m *Manifest) { m.Files["x"] = object.Ref{Size: 1} },
		"file's size":         func(m *Manifest) { m.Files["x"] = huge },
		"many files":          func(m *Manifest) { m.Files = many(257) },
		"optional name":       func(m *Manifest) { m.Optional = []string{"Menu"} },
		"much optional":       func(m *Manifest) { m.Optional = slices.Repeat([]string{"x"}, 17) },
	} {
		m := sample()
		breakIt(m)
		if err := m.Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: Validate() = %v, want ErrMalformed", name, err)
		}
		if _, err := Encode(m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: Encode() = %v, want ErrMalformed", name, err)
		}
	}
}

// TestWorksAllow is what a sample cannot show, since it has everything.
func TestWorksAllow(t *testing.T) {
	ref := object.OfBytes([]byte("x"))
	for name, e := range map[string]Entry{
		"script":   {Script: &Script{Program: ref}},
		"rescue":   {Rescue: &Rescue{Keys: keys(64), HostKey: HostKeyMachine}},
		"console":  {Rescue: &Rescue{Password: "$6$rounds=1000$saltsalt$/IiX/CoEcxCZ9SksEXnbjfCT1LGvD4z5OpJkaFYl/T37OAwuKZ8I8BixDhruhPLkw6lS7dw/6wQWgQnGo7lLg/"}},
		"flash":    {Flash: &Flash{Image: ref, Index: ref}},
		"raw size": {Flash: &Flash{Image: ref, Index: ref, Disk: Disk{MinSize: 5}, Files: []FlashFile{{Partition: 128, Path: "/empty", Mode: 0o777}}}},
	} {
		e.Title = "x"
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		entry      Entry
		kind, then string
	}{
		{Entry{Linux: &Linux{}}, "linux", ""},
		{Entry{Local: &Local{}}, "local", ""},
		{Entry{Power: &Power{}}, "power", ""},
		{Entry{Script: &Script{}}, "script", ThenNext},
		{Entry{Script: &Script{Then: ThenOff}}, "script", ThenOff},
		{Entry{Rescue: &Rescue{}}, "rescue", ThenNext},
		{Entry{Rescue: &Rescue{Then: ThenWait}}, "rescue", ThenWait},
		{Entry{Flash: &Flash{}}, "flash", ThenReboot},
		{Entry{Flash: &Flash{Then: ThenLocal}}, "flash", ThenLocal},
		{Entry{Unknown: "linux+more"}, "linux+more", ""},
	} {
		if kind, then := c.entry.Kind(), c.entry.Then(); kind != c.kind || then != c.then {
			t.Errorf("%+v: kind %q, then %q; want %q, %q", c.entry, kind, then, c.kind, c.then)
		}
	}
	if got := (&Script{}).TimeLimit(); got != time.Hour {
		t.Errorf("a script may take %v by default", got)
	}
	if got := (&Script{Seconds: 5}).TimeLimit(); got != 5*time.Second {
		t.Errorf("a script of 5 seconds may take %v", got)
	}
	if got := []int{(&Rescue{}).ListenPort(), (&Rescue{Port: 2222}).ListenPort()}; !slices.Equal(got, []int{22, 2222}) {
		t.Errorf("ports %v", got)
	}
}

// keys returns n keys.
func keys(n int) []string {
	var all []string
	for i := range n {
		all = append(all, keyLine("ssh-ed25519", fmt.Sprintf("%032d", i)))
	}
	return all
}

// keyLine puts a key together from what it consists of.
func keyLine(kind string, fields ...string) string {
	var data []byte
	for _, f := range append([]string{kind}, fields...) {
		data = binary.BigEndian.AppendUint32(data, uint32(len(f)))
		data = append(data, f...)
	}
	return kind + " " + base64.StdEncoding.EncodeToString(data)
}
