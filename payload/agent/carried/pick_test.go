package carried

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/newc"
)

const release = "6.1.0-test"

// initrd is one with modules, compressed as a medium's is. without are files that it
// lacks.
func initrd(t *testing.T, without ...string) *io.SectionReader {
	t.Helper()
	content := map[string]string{
		"kernel/loop.ko": "L", "kernel/fuse.ko": "F", "kernel/nbd.ko": "N", "kernel/net/card.ko": "C", "kernel/net/lib.ko": "B", "kernel/bus.ko": "U",
		"modules.dep":     "kernel/loop.ko:\nkernel/fuse.ko:\nkernel/nbd.ko:\nkernel/net/lib.ko:\nkernel/net/card.ko: kernel/net/lib.ko\nkernel/bus.ko:\n",
		"modules.alias":   "alias pci:v00001234d00000001sv*sd*bc*sc*i* card\nalias usb:bus* bus\n",
		"modules.softdep": "",
		"modules.builtin": "kernel/fs/squashfs/squashfs.ko\n",
	}
	for _, name := range without {
		base, ok := strings.CutPrefix(name, "kernel/")
		delete(content, name)
		if ok {
			content["modules.dep"] = strings.ReplaceAll(content["modules.dep"], "kernel/"+base+":\n", "")
		}
	}
	var files []newc.File
	for name, text := range content {
		files = append(files, newc.File{Name: "lib/modules/" + release + "/" + name, Mode: newc.Regular | 0o644, Size: int64(len(text)), Content: strings.NewReader(text)})
	}
	var plain bytes.Buffer
	if err := newc.Write(&plain, files); err != nil {
		t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := encoder.EncodeAll(plain.Bytes(), nil)
	return io.NewSectionReader(bytes.NewReader(packed), 0, int64(len(packed)))
}

// read reads it.
func read(t *testing.T, r *io.SectionReader) *Modules {
	t.Helper()
	m, err := ReadModules(r, release)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// files shows what was picked.
func files(picked []Module) (all []string) {
	for _, m := range picked {
		all = append(all, m.Name+"="+string(m.Data))
	}
	return all
}

func TestPick(t *testing.T) {
	m := read(t, initrd(t))
	card := Card{MAC: "52:54:00:12:34:56", Driver: "card", Aliases: []string{"pci:v00001234d00000001sv1sd1bc2sc0i0", "usb:bus1"}}
	picked, err := m.Pick(Wish{Must: []string{"fuse", "loop", "squashfs"}, Want: []string{"isofs"}, Cards: []Card{card}, Devices: []string{"pci:unknown"}})
	want := []string{"fuse.ko=F", "loop.ko=L", "bus.ko=U", "lib.ko=B", "card.ko=C"}
	if diff := cmp.Diff(want, files(picked)); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	card.Aliases[0] = "pci:v00001234d00000002sv1sd1bc2sc0i0"
	for name, w := range map[string]Wish{
		"a card without a driver": {Cards: []Card{card}}, "a card without a name": {Cards: []Card{{MAC: "x"}}}, "a module": {Must: []string{"erofs"}},
	} {
		if _, err := m.Pick(w); !errors.Is(err, ErrDriver) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if picked, err := read(t, nil).Pick(Wish{Must: []string{"erofs"}}); picked != nil || err != nil {
		t.Errorf("a kernel with all built in: %v, %v", picked, err)
	}
	if _, err := ReadModules(initrd(t), "5.10"); !errors.Is(err, ErrDriver) {
		t.Errorf("another kernel's modules: %v", err)
	}
}

func TestDoor(t *testing.T) {
	for _, test := range []struct {
		without []string
		door    string
	}{{nil, carry.FUSE}, {[]string{"kernel/loop.ko"}, carry.NBD}, {[]string{"kernel/nbd.ko"}, carry.FUSE}, {[]string{"kernel/fuse.ko", "kernel/nbd.ko"}, ""}} {
		door, err := read(t, initrd(t, test.without...)).Door()
		if door != test.door || (err == nil) != (door != "") || err != nil && !errors.Is(err, blockdev.ErrDoor) {
			t.Errorf("without %q: %q, %v", test.without, door, err)
		}
	}
}

// A module that is listed and is not there would end in a black screen.
func TestPickWantsFiles(t *testing.T) {
	m := read(t, initrd(t))
	m.open = func() (io.ReadCloser, error) {
		var out bytes.Buffer
		return io.NopCloser(&out), newc.Write(&out, nil)
	}
	if _, err := m.Pick(Wish{Must: []string{"loop"}}); !errors.Is(err, ErrDriver) {
		t.Error(err)
	}
}

func TestCards(t *testing.T) {
	const device = "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0"
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text + "\n")} }
	link := func(to string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(to), Mode: 1<<27 | 0o777} }
	sysfs := fstest.MapFS{
		"class/net/eth0":                              link("../../" + device + "/net/eth0"),
		device + "/net/eth0/type":                     file("1"),
		device + "/net/eth0/address":                  file("52:54:00:12:34:56"),
		device + "/net/eth0/device":                   link("../../../1-1:1.0"),
		device + "/net/eth0/phydev/phy_id":            file("0x001cc915"),
		device + "/driver":                            link("../../../../../../bus/usb/drivers/r8152"),
		device + "/modalias":                          file("usb:v0BDAp8153"),
		"devices/pci0000:00/0000:00:14.0/modalias":    file("pci:v00008086"),
		"bus/usb/devices/1-1:1.0/modalias":            file("usb:v0BDAp8153"),
		"bus/pci/devices/0000:00:14.0/modalias":       file("pci:v00008086"),
		"bus/pci/devices/0000:00:15.0/something-else": file(""),
	}
	want := []Card{{MAC: "52:54:00:12:34:56", Driver: "r8152", Aliases: []string{"usb:v0BDAp8153", "pci:v00008086", "mdio:00000000000111001100100100010101"}}}
	if diff := cmp.Diff(want, Cards(sysfs)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"pci:v00008086", "usb:v0BDAp8153"}, Devices(sysfs)); diff != "" {
		t.Error(diff)
	}
}

// TestLayer: what Run looks for is where it looks.
func TestLayer(t *testing.T) {
	file := func(text string) newc.File {
		return newc.File{Mode: newc.Regular | 0o755, Size: int64(len(text)), Content: strings.NewReader(text)}
	}
	var out bytes.Buffer
	if err := newc.Write(&out, Layer([]byte("{}"), file("#!/bin/sh"), []Module{{"loop.ko", []byte("L")}, {"card.ko", []byte("C")}}, []byte("roots"), file("agent"))); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := newc.Read(&out, func(f newc.File) error {
		data, err := io.ReadAll(f.Content)
		got["/"+f.Name] = string(data)
		return err
	})
	want := map[string]string{
		carry.Dir: "", carry.File: "{}", carry.Modules: "", carry.Modules + "/000-loop.ko": "L", carry.Modules + "/001-card.ko": "C",
		carry.Init: "#!/bin/sh", carry.Roots: "roots", "/init": "agent",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestParameters(t *testing.T) {
	for name, want := range map[string]string{"nbd": "nbds_max=4", "loop": "", "virtio_net": ""} {
		if got := parameters(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
