package live

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What libxl runs makes a machine's card a port of the bridge that xenstore names, and
// says so there; a card that does not become one is an error, and one that goes is not
// touched.
func TestPlugScript(t *testing.T) {
	const note = "#!/bin/sh\necho \"${0##*/} $*\" >>\"$LOG\"\n"
	for name, c := range map[string]struct {
		action, ip string
		want       string
		fails      bool
	}{
		"online": {"online", note, "xenstore-read backend/bridge\nip link set dev vif1.0 master xenbr0\nip link set dev vif1.0 up\n" +
			"xenstore-write backend/hotplug-status connected\n", false},
		"no bridge": {"online", note + "exit 1\n", "xenstore-read backend/bridge\nip link set dev vif1.0 master xenbr0\n", true},
		"offline":   {"offline", note, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			log := filepath.Join(dir, "log")
			for file, text := range map[string]string{
				"vif": plugScript, "ip": c.ip, "xenstore-read": note + "echo xenbr0\n", "xenstore-write": note, "log": "",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(filepath.Join(dir, "vif"), c.action, "type_if=vif")
			cmd.Env = []string{"PATH=" + dir + ":/bin", "LOG=" + log, "vif=vif1.0", "XENBUS_PATH=backend"}
			if out, err := cmd.CombinedOutput(); (err != nil) != c.fails {
				t.Errorf("%v, %s", err, out)
			}
			got, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
