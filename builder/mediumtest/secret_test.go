//go:build boot

package mediumtest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// testSecrets looks for the secret keys in everything that the project holds,
// the layers of the initramfs unpacked, and in all that was printed: threat 14.
// It knows nothing of what keeps them out (builder/leak).
func testSecrets(t *testing.T, p *project, secrets string) {
	forms := secretForms(t, secrets)
	seen := 0
	look := func(name string, data []byte) {
		seen++
		for form, secret := range forms {
			if bytes.Contains(data, secret) {
				t.Errorf("%s: a secret key, in its form %s", name, form)
			}
		}
	}
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		look(path, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	look("what was printed", p.log.Bytes())
	for i, layer := range layers(t, p.read(t, "out/netboot/boot/initrd.img")) {
		look(fmt.Sprintf("layer %d of the initramfs", i), layer)
	}
	if seen < 20 {
		t.Errorf("only %d things looked at; where is the rest?", seen)
	}
}

// Where gpg says that a secret key is in its file.
var (
	packetAt   = regexp.MustCompile(`# off=(\d+) ctb=[0-9a-f]+ tag=5 hlen=(\d+) plen=(\d+)`)
	secretBits = regexp.MustCompile(`skey\[2\]: \[(\d+) bits\]`)
)

// secretForms returns the numbers that the secret keys are, as bytes in both
// orders, as hexadecimal digits and as base64 at each of its three places. It
// makes sure that they are found where they belong.
func secretForms(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.pgp"))
	if err != nil || len(names) != 3 {
		t.Fatalf("%d secret keys, %v", len(names), err)
	}
	forms := map[string][]byte{}
	for i, name := range names {
		data := readFile(t, name)
		log := oracle.Output(t, oracle.Tool(t, "gpg", "gnupg"), "--homedir", t.TempDir(), "--batch", "--list-packets", name)
		packet, bits := packetAt.FindStringSubmatch(log), secretBits.FindStringSubmatch(log)
		if packet == nil || bits == nil {
			t.Fatalf("gpg finds no secret key:\n%s", log)
		}
		// The number is the packet's last but for a checksum of two bytes.
		end := number(t, packet[1]) + number(t, packet[2]) + number(t, packet[3]) - 2
		secret := data[end-(number(t, bits[1])+7)/8 : end]
		reversed := slices.Clone(secret)
		slices.Reverse(reversed)
		for form, bytes := range map[string][]byte{"raw": secret, "reversed": reversed} {
			forms[fmt.Sprintf("%s %d", form, i)] = bytes
			forms[fmt.Sprintf("%s hex %d", form, i)] = []byte(hex.EncodeToString(bytes))
			forms[fmt.Sprintf("%s HEX %d", form, i)] = []byte(strings.ToUpper(hex.EncodeToString(bytes)))
			for skip := range 3 {
				forms[fmt.Sprintf("%s base64 %d.%d", form, i, skip)] = []byte(base64.RawStdEncoding.EncodeToString(bytes[skip : skip+27]))
			}
		}
		if len(secret) < 30 || !bytes.Contains(data, forms[fmt.Sprintf("raw %d", i)]) {
			t.Fatalf("a secret key of %d bytes is not found in its own file", len(secret))
		}
	}
	return forms
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
