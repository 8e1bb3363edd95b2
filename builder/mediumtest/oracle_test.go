//go:build boot

package mediumtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/internal/oracle"
)

// Budgets, in bytes (DESIGN.md).
const (
	maxISO  = 25_000_000
	maxInit = 12_000_000
)

// testOracles puts the image to other people's programs.
func testOracles(t *testing.T, p *project, b built) {
	tree := filepath.Join(base, "extracted")
	oracle.Output(t, oracle.Tool(t, "xorriso", "xorriso"), "-osirrox", "on", "-indev", p.iso(), "-extract", "/", tree)
	t.Run("size", func(t *testing.T) {
		if b.Size > maxISO {
			t.Errorf("the ISO has %d bytes, %d more than the budget", b.Size, b.Size-maxISO)
		}
	})
	t.Run("boot equipment", func(t *testing.T) { testBootEquipment(t, p) })
	t.Run("partitions", func(t *testing.T) { testPartitions(t, p, tree) })
	t.Run("netboot", func(t *testing.T) { testSameFiles(t, p, tree) })
	t.Run("grub.cfg", func(t *testing.T) { testScripts(t, p, tree) })
	t.Run("core image", func(t *testing.T) { testCore(t, p, tree, b) })
	t.Run("initrd", func(t *testing.T) { testInitrd(t, p, tree, b) })
	t.Run("signatures", func(t *testing.T) { testSignatures(t, p, tree) })
}

// testBootEquipment has xorriso tell what starts the image.
func testBootEquipment(t *testing.T, p *project) {
	log := oracle.Output(t, oracle.Tool(t, "xorriso", "xorriso"), "-indev", p.iso(),
		"-report_el_torito", "plain", "-report_system_area", "plain", "-find", "/", "-exec", "lsdl", "--")
	for _, want := range []string{
		`Volume id +: 'NETBOOT'`,
		`El Torito boot img : +1 +BIOS +y +none +0x0000 +0x00 +4 +\d+`,
		`El Torito boot img : +2 +UEFI +y +none +0x0000 +0x00 +\d+ +\d+`,
		`El Torito img path : +1 +/boot/grub/i386-pc/eltorito.img`,
		`El Torito img path : +2 +/boot/efi.img`,
		`System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT`,
		`GPT type GUID +: +1 +28732ac11ff8d211ba4b00a0c93ec93b`,
		`GPT partition path : +1 +/boot/efi.img`,
		`-rw-r--r-- +1 0 +0 .* '/boot/vmlinuz'`,
	} {
		if !regexp.MustCompile(want).MatchString(log) {
			t.Errorf("xorriso does not say %q:\n%s", want, log)
		}
	}
	// What xorriso itself complains about.
	if bad := regexp.MustCompile(`(?m)^(libisofs|xorriso|libburn) : (WARNING|SORRY|MISHAP|FAILURE|FATAL) .*`).FindString(log); bad != "" {
		t.Error(bad)
	}
}

// testPartitions has sgdisk check the table and fsck.fat what lies in it.
func testPartitions(t *testing.T, p *project, tree string) {
	sgdisk := oracle.Tool(t, "sgdisk", "gdisk")
	if log := oracle.Output(t, sgdisk, "-v", p.iso()); !strings.Contains(log, "No problems found.") || strings.Contains(strings.ToLower(log), "warning") {
		t.Errorf("sgdisk is not content:\n%s", log)
	}
	info := oracle.Output(t, sgdisk, "-i", "1", p.iso())
	var first, last int64
	for field, to := range map[string]*int64{"First": &first, "Last": &last} {
		m := regexp.MustCompile(field + ` sector: (\d+)`).FindStringSubmatch(info)
		if m == nil {
			t.Fatalf("sgdisk does not name the %s sector:\n%s", field, info)
		}
		fmt.Sscan(m[1], to)
	}
	esp := p.read(t, "out/netboot.iso")[first*512 : (last+1)*512]
	if !bytes.Equal(esp, readFile(t, filepath.Join(tree, "boot/efi.img"))) {
		t.Error("the partition is not the file that El Torito starts")
	}
	image := filepath.Join(t.TempDir(), "esp.img")
	if err := os.WriteFile(image, esp, 0o644); err != nil {
		t.Fatal(err)
	}
	oracle.Output(t, oracle.Tool(t, "fsck.fat", "dosfstools"), "-n", "-v", image)
	list := oracle.Output(t, oracle.Tool(t, "mdir", "mtools"), "-i", image, "-/", "-b")
	want := "::/EFI/ ::/boot/ ::/EFI/BOOT/ ::/EFI/BOOT/BOOTX64.EFI ::/EFI/BOOT/grubx64.efi ::/boot/grub/ ::/boot/grub/grub.cfg"
	if got := strings.Join(strings.Fields(list), " "); got != want {
		t.Errorf("mdir lists %q, want %q", got, want)
	}
	oracle.Output(t, oracle.Tool(t, "mcopy", "mtools"), "-i", image, "::/boot/grub/grub.cfg", filepath.Join(tree, "stub.cfg"))
}

// testSameFiles compares what machines fetch with what they read from the image.
func testSameFiles(t *testing.T, p *project, tree string) {
	for _, name := range []string{"boot/vmlinuz", "boot/initrd.img", "farboot/lock.json", "farboot/statement.json", "farboot/settings.json"} {
		if !bytes.Equal(p.read(t, filepath.Join("out/netboot", name)), readFile(t, filepath.Join(tree, name))) {
			t.Errorf("%s is not the same in the netboot folder and on the image", name)
		}
	}
	if !bytes.Equal(readFile(t, filepath.Join(tree, "farboot/lock.json")), p.read(t, "recipes/netboot.lock")) {
		t.Error("the lock on the image is not the recipe's")
	}
	lineage := fmt.Sprintf(`"lineage": "%x"`, sha256.Sum256(p.read(t, "keys/trust/1.json")))
	if !bytes.Contains(readFile(t, filepath.Join(tree, "farboot/settings.json")), []byte(lineage)) {
		t.Errorf("the medium's settings lack %s", lineage)
	}
}

// testScripts has GRUB's own parser read every script for GRUB.
func testScripts(t *testing.T, p *project, tree string) {
	check := oracle.Tool(t, "grub-script-check", "grub-common")
	found := 0
	for _, dir := range []string{tree, filepath.Join(p.dir, "out/netboot")} {
		for _, name := range []string{"stub.cfg", "boot/grub/grub.cfg", "grub/grub.cfg", "grub.cfg"} {
			if path := filepath.Join(dir, name); exists(path) {
				found++
				oracle.Output(t, check, path)
			}
		}
	}
	if found != 3 {
		t.Errorf("found %d scripts; want those of the image, of its EFI system partition and of the netboot folder", found)
	}
}

// testCore compares what GRUB's core image will unpack with what grub-mkimage
// packs of the same modules: the locked package's.
func testCore(t *testing.T, p *project, tree string, b built) {
	mkimage := oracle.Tool(t, "grub-mkimage", "grub-common")
	work := t.TempDir()
	oracle.Output(t, oracle.Tool(t, "dpkg-deb", "dpkg"), "-x", p.locked(t, "deb:grub-pc-bin"), work)
	early, err := grub.EarlyConfig("/boot/"+b.Build, "/boot/grub")
	if err != nil {
		t.Fatal(err)
	}
	config, want := filepath.Join(work, "early.cfg"), filepath.Join(work, "core.img")
	if err := os.WriteFile(config, []byte(early), 0o644); err != nil {
		t.Fatal(err)
	}
	oracle.Output(t, mkimage, append([]string{"-O", "i386-pc-eltorito", "-d", filepath.Join(work, "usr/lib/grub/i386-pc"),
		"-o", want, "-p", "/boot/grub", "-c", config}, grub.MenuModules(grub.Menu{})...)...)
	if !bytes.Equal(unpack(t, filepath.Join(tree, "boot/grub/i386-pc/eltorito.img")), unpack(t, want)) {
		t.Error("the core image's payload is not grub-mkimage's")
	}
}

// unpack returns the payload of an El Torito core image, found by the two size
// fields that GRUB's decompressor (startup_raw.S) goes by.
func unpack(t *testing.T, path string) []byte {
	t.Helper()
	image := readFile(t, path)
	core := image[2048+512:] // behind cdboot.img and diskboot.img
	packed, size := binary.LittleEndian.Uint32(core[0x08:]), binary.LittleEndian.Uint32(core[0x0c:])
	if int64(packed) > int64(len(core)) {
		t.Fatalf("%s: %d packed bytes in a core of %d", path, packed, len(core))
	}
	// GRUB leaves the LZMA header out: lc=3, lp=0, pb=2, dictionary: all of the output.
	header := binary.LittleEndian.AppendUint64([]byte{(2*5+0)*9 + 3, 0, 0, 16, 0}, uint64(size))
	r, err := lzma.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(core[len(core)-int(packed):])))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := io.ReadAll(r)
	if err != nil || len(payload) != int(size) {
		t.Fatalf("%s: payload of %d bytes, its field says %d: %v", path, len(payload), size, err)
	}
	return payload
}

// testInitrd takes the initramfs apart, as a kernel would, and lists every
// layer with cpio.
func testInitrd(t *testing.T, p *project, tree string, b built) {
	cpio := oracle.Tool(t, "cpio", "cpio")
	all := map[string]bool{}
	for i, layer := range layers(t, readFile(t, filepath.Join(tree, "boot/initrd.img"))) {
		list := pipe(t, layer, cpio, "--list", "--quiet")
		t.Logf("layer %d: %d bytes of cpio, %d names", i, len(layer), strings.Count(list, "\n"))
		for name := range strings.Lines(list) {
			all[strings.TrimSpace(name)] = true
		}
		if init := pipe(t, layer, cpio, "--extract", "--quiet", "--to-stdout", "init"); init != "" {
			t.Logf("/init has %d bytes", len(init))
			if len(init) > maxInit {
				t.Errorf("/init is %d bytes above its budget", len(init)-maxInit)
			}
		}
	}
	modules := "lib/modules/" + b.Kernel + "/"
	want := append(p.wiredNICs(t, b.Kernel), "init", "dev/console", "proc", "sys",
		"etc/farboot/settings.json", "etc/farboot/trust/statement.json", "etc/farboot/trust/statement.json.sig",
		modules+"modules.dep", modules+"modules.alias", modules+"modules.softdep", modules+"kernel/drivers/net/virtio_net.ko",
		modules+"kernel/fs/efivarfs/efivarfs.ko", modules+"kernel/drivers/scsi/sd_mod.ko") // where a machine's memory lies
	for _, name := range want {
		if !all[name] {
			t.Errorf("no %s in the initramfs", name)
		}
	}
}

// noWiredNIC are modules that the budget does not speak of: PC Cards of the
// nineties, and storage offload without a network interface.
var noWiredNIC = regexp.MustCompile(`_cs\.ko$|/cnic\.ko$`)

// wiredNICs returns the paths of the kernel package's Ethernet drivers, as
// dpkg-deb lists them.
func (p *project) wiredNICs(t *testing.T, kernel string) []string {
	t.Helper()
	list := oracle.Output(t, oracle.Tool(t, "dpkg-deb", "dpkg"), "--contents", p.locked(t, "deb:linux-image-"+kernel))
	all := regexp.MustCompile(`lib/modules/\S+/drivers/net/ethernet/\S+\.ko`).FindAllString(list, -1)
	all = slices.DeleteFunc(all, noWiredNIC.MatchString)
	if len(all) < 90 {
		t.Fatalf("only %d Ethernet drivers in the kernel's package", len(all))
	}
	return all
}

// layers returns the cpio archives that an initramfs is the concatenation of.
// As in the kernel, an archive may go on in the next compressed stream, and ends
// with its trailer.
func layers(t *testing.T, initrd []byte) [][]byte {
	t.Helper()
	xz := oracle.Tool(t, "xz", "xz-utils")
	var all [][]byte
	var archive []byte
	for len(initrd) > 0 {
		if !bytes.HasPrefix(initrd, xzMagic) {
			all = append(all, initrd)
			break
		}
		end := streamEnd(initrd)
		archive = append(archive, pipe(t, initrd[:end], xz, "-dc")...)
		if bytes.Contains(archive[max(0, len(archive)-512):], []byte("TRAILER!!!")) {
			all, archive = append(all, archive), nil
		}
		initrd = bytes.TrimLeft(initrd[end:], "\x00")
	}
	if len(all) < 3 || len(archive) > 0 {
		t.Fatalf("the initramfs has %d layers, want modules, agent and settings; %d bytes are left over", len(all), len(archive))
	}
	return all
}

// xzMagic starts a stream of xz (The .xz File Format 1.2, section 2.1.1.1).
var xzMagic = []byte("\xfd7zXZ\x00")

// streamEnd returns where the stream that data starts with ends, found without
// our code: behind a footer's "YZ" (section 2.1.2.4) something new begins. That
// it is the right place is xz's to judge.
func streamEnd(data []byte) int {
	for i := 12; i < len(data); i += 4 {
		if string(data[i-2:i]) != "YZ" {
			continue
		}
		rest := bytes.TrimLeft(data[i:], "\x00")
		if bytes.HasPrefix(rest, xzMagic) || bytes.HasPrefix(rest, []byte("070701")) {
			return i
		}
	}
	return len(data)
}

// testSignatures has gpgv check the statement on the image and the manifest of
// the site, each with the one public key that may sign it.
func testSignatures(t *testing.T, p *project, tree string) {
	gpgv := oracle.Tool(t, "gpgv", "gpgv")
	statement := filepath.Join(tree, "farboot/statement.json")
	oracle.Output(t, gpgv, "--keyring", p.keyring(t, "root"), statement+".sig", statement)

	manifest := filepath.Join(p.dir, "published/site/manifest.json")
	oracle.Output(t, gpgv, "--keyring", p.keyring(t, "manifest"), manifest+".sig", manifest)
	if out, err := exec.Command(gpgv, "--keyring", p.keyring(t, "root"), manifest+".sig", manifest).CombinedOutput(); err == nil {
		t.Errorf("gpgv takes the root key for the manifest:\n%s", out)
	}
}

// keyring returns the project's public keys for a role in gpgv's form.
func (p *project) keyring(t *testing.T, role string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(p.dir, "keys", role+"-*.asc"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%d %s keys, %v", len(names), role, err)
	}
	gpg, home := oracle.Tool(t, "gpg", "gnupg"), t.TempDir()
	var ring []byte
	for i, name := range names {
		key := filepath.Join(home, fmt.Sprint(i))
		oracle.Output(t, gpg, "--homedir", home, "--batch", "--quiet", "--dearmor", "--output", key, name)
		ring = append(ring, readFile(t, key)...)
	}
	out := filepath.Join(home, role+".gpg")
	if err := os.WriteFile(out, ring, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// pipe runs a program with input and returns what it prints on stdout.
func pipe(t *testing.T, input []byte, tool string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool, args...)
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, &stderr)
	}
	return stdout.String()
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
