package vm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func TestArgs(t *testing.T) {
	for name, config := range map[string]Config{
		"bios-cd":         {Image: "out/netboot.iso"},
		"bios-usb-kvm":    {Image: "out/a,b.iso", Bus: USB, KVM: true, CPU: "host", VGA: true, Reboots: true},
		"uefi-cd":         {Image: "out/netboot.iso", Firmware: UEFI, Memory: 256, Args: []string{"-rtc", "base=1970-01-02T00:00:00"}},
		"secure-boot-usb": {Image: "out/netboot.iso", Bus: USB, Firmware: SecureBoot, NICs: []NIC{{Model: "e1000e"}, {Model: "rtl8139", MAC: "52:54:00:00:00:01", Net: "hubport,hubid=1"}}},
		"uefi-usb-keeps":  {Image: "out/netboot.iso", Bus: USB, Writable: true, Firmware: UEFI, Vars: "machine.vars"},
		"netboot":         {Netboot: "out/netboot", Bootfile: "boot.ipxe"},
		"disks":           {Image: "out/netboot.iso", Disks: []Disk{{File: "a,b.img"}, {File: "b.img", Bus: SATA, Serial: "S,1"}, {File: "c.img", Bus: NVMe, Log: "c.log"}}},
		"port":            {Kernel: "linux", Disks: []Disk{{File: "a.qcow2", Drive: "format=qcow2,cache=unsafe"}}, Port: os.Stdin, PortName: "a,b"},
		"kernel":          {Kernel: "linux", Initrd: "initrd.gz", Cmdline: "console=ttyS0,115200 a,b"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := config.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(strings.Join(config.args(), " ")+"\n", " -", "\n-") // an option a line
			golden := filepath.Join("testdata", name+".args")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				t.Error("golden file written; look at it and run again")
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("arguments differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigRefused(t *testing.T) {
	for text, config := range map[string]Config{
		"0 of image":                   {},
		"2 of image":                   {Image: "a", Kernel: "b"},
		`firmware "efi"`:               {Image: "a", Firmware: "efi"},
		`disk "d": bus "floppy"`:       {Image: "a", Disks: []Disk{{File: "d", Bus: "floppy"}}},
		`bus "floppy"`:                 {Image: "a", Bus: "floppy"},
		`on bus "usb" can be writable`: {Image: "a", Writable: true},
		`no variables to keep`:         {Image: "a", Vars: "b"},
	} {
		if _, err := Start(t.Context(), config); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: error %v, want %q", config, err, text)
		}
	}
}

// TestVarsAreKept: the second machine finds what the first one's firmware wrote.
func TestVarsAreKept(t *testing.T) {
	c := Config{Image: "a", Firmware: UEFI, Vars: filepath.Join(t.TempDir(), "vars")}
	f, err := c.vars()
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Seek(0, 2)
	if err != nil || size == 0 {
		t.Fatalf("new variables of %d bytes, %v", size, err)
	}
	if _, err := f.WriteAt([]byte("kept"), 100); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if f, err = c.vars(); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, 100); err != nil || string(got) != "kept" {
		t.Errorf("the second machine reads %q, %v", got, err)
	}
}
