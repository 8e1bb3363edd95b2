package recipe_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
)

const room = `kind: site
entries:
  disk: {title: Installed, local: {}}
  server:
    title: Write the image
    flash:
      image: {file: server.img}
      files:
        - {partition: 2, path: /etc/hostname, expand: true, text: "{HOSTNAME}\n"}
        - {partition: 2, path: /etc/network, expand: true, text: "{MAC} {ADDRESS} {GATEWAY} {DNS} {ROLE}\n"}
        - {partition: 2, path: /etc/motd, text: "{HOSTNAME}\n"}
groups:
  room-4:
    boot: [server, disk]
    env: {ROLE: pupil, SHELF: "4"}
    power: {driver: redfish, user: admin, password: {file: ~/bmc}, ca: keys/bmc.pem, seconds: 5}
machines:
  - name: room-4-01
    group: room-4
    match: {mac: "52:54:00:00:04:01"}
    power: {address: 192.0.2.101}
    networks: [{addresses: [192.0.2.1/24], gateways: [192.0.2.254], dns: [192.0.2.53, 192.0.2.54]}]
  - name: room-4-02
    group: room-4
    match: {mac: "52:54:00:00:04:02"}
    power: {driver: ipmi, address: "192.0.2.102:6230", user: root, password: {env: BMC}, cipher: 3}
    networks: [{addresses: [192.0.2.2/24], gateways: [192.0.2.254], dns: [192.0.2.53]}]
    env: {ROLE: teacher}
    boot: [server]
  - {name: kiosk, match: {mac: "52:54:00:00:05:01"}, boot: [disk], power: {driver: wol}}
`

func TestMembers(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(room))
	if err != nil {
		t.Fatal(err)
	}
	all := r.Site.AllMachines()
	want := &recipe.Power{
		Driver: "redfish", Address: "192.0.2.101", User: "admin", Password: &recipe.Secret{File: "~/bmc"}, CA: "keys/bmc.pem", Seconds: 5,
	}
	if diff := cmp.Diff(want, all[0].Power); diff != "" {
		t.Error(diff)
	}
	want = &recipe.Power{Driver: "ipmi", Address: "192.0.2.102:6230", User: "root", Password: &recipe.Secret{Env: "BMC"}, Cipher: 3}
	if diff := cmp.Diff(want, all[1].Power); diff != "" {
		t.Errorf("another driver has something of the group's: %s", diff)
	}
	if diff := cmp.Diff([][]string{{"server", "disk"}, {"server"}, {"disk"}}, [][]string{all[0].Boot, all[1].Boot, all[2].Boot}); diff != "" {
		t.Error(diff)
	}
	env := map[string]string{
		"ROLE": "pupil", "SHELF": "4", "HOSTNAME": "room-4-01", "MAC": "52:54:00:00:04:01",
		"ADDRESS": "192.0.2.1/24", "GATEWAY": "192.0.2.254", "DNS": "192.0.2.53 192.0.2.54",
	}
	if diff := cmp.Diff(env, all[0].Env); diff != "" {
		t.Error(diff)
	}
	if got := all[1].Env["ROLE"]; got != "teacher" {
		t.Errorf("a machine's own variable is %q", got)
	}
	if len(all[2].Env) > 0 {
		t.Errorf("a machine that flashes nothing has %v", all[2].Env)
	}
}

// TestPowerIsNotPublished holds that nothing of how a machine is switched comes
// into its manifest.
func TestPowerIsNotPublished(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(room))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Site.AllMachines() {
		text, err := json.Marshal(m.Manifest())
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"redfish", "ipmi", "wol", "192.0.2.10", "6230", "admin", "root", "bmc", "BMC", "password", "power"} {
			if strings.Contains(string(text), word) {
				t.Errorf("%q is published: %s", word, text)
			}
		}
	}
}

func TestPowerRefusals(t *testing.T) {
	for _, m := range []mistake{
		{"a password in the recipe", room, "{file: ~/bmc}", "hunter2", `x.yaml:16: groups.room-4.power.password: no password stands in a recipe`, `{file: PATH}`},
		{"unknown key", room, "driver: ipmi", "drivr: ipmi", `x.yaml:26: machines[1].power.drivr: unknown key`, `did you mean "driver"?`},
		{"unknown driver", room, "driver: ipmi", "driver: impi", `machines[1].power.driver: "impi" is not one of`, `did you mean "ipmi"?`},
		{"both references", room, "{env: BMC}", "{env: BMC, file: b}", `x.yaml:26: machines[1].power.password: want one of file and env`, ``},
		{"no reference", room, "{env: BMC}", "{}", `want one of file and env`, ``},
		{"no password", room, ", password: {env: BMC}", "", `x.yaml:26: machines[1].power: ipmi needs a "password:"`, `password: {file:`},
		{"no address", room, "address: 192.0.2.101", "seconds: 3", `x.yaml:21: machines[0].power: redfish needs the controller's "address:"`, `for example`},
		{"a URL", room, "192.0.2.101", "https://192.0.2.101/", `machines[0].power.address: "https://192.0.2.101/" is not a host`, `no scheme`},
		{"a port", room, "192.0.2.102:6230", "192.0.2.102:99999", `is not a host`, ``},
		{"a foreign field", room, "cipher: 3", "system: x", `machines[1].power.system: ipmi takes address, user`, ``},
		{"a cipher", room, "cipher: 3", "cipher: 4", `4 is neither 3 nor 17`, ``},
		{"two ways of trust", room, "ca: keys/bmc.pem", "ca: keys/bmc.pem, insecure: true", `x.yaml:16: groups.room-4.power: ca, fingerprint, insecure and plain exclude`, ``},
		{"fingerprint", room, "ca: keys/bmc.pem", "fingerprint: abcd", `groups.room-4.power.fingerprint: want 32 pairs`, `openssl x509`},
		{"user with a line", room, "user: root", `user: "a b"`, `machines[1].power.user: a user's name`, ``},
		{"time", room, "seconds: 5", "seconds: 601", `601 is not between 1 and 600`, ``},
		{"a secret outside", room, "{file: ~/bmc}", "{file: ../bmc}", `groups.room-4.power.password.file: "../bmc" is not a clean relative path`, ``},
		{"exec of nothing", room, "{driver: wol}", "{driver: exec}", `machines[2].power: exec needs a "command:"`, ``},
		{"wol by name", room, "{driver: wol}", "{driver: wol, address: host}", `"host" is no IPv4 address`, `192.0.2.255`},
		{"wol without a MAC", room, `{mac: "52:54:00:00:05:01"}`, `{serial: ABC}`, `machines[2].power: wol needs the machine's MAC address`, `mac:`},
		{"name twice", room, "name: kiosk", "name: room-4-01", `machines[2].name: "room-4-01" is the name of machines[0] as well`, ``},
		{"name of a group", room, "name: kiosk", "name: room-4", `machines[2].name: "room-4" is a group's name`, ``},
		{"no host name", room, "name: kiosk", "name: Kiosk_1", `"Kiosk_1" is no host name`, `lower-case`},
		{"unknown group", room, "name: room-4-02\n    group: room-4", "name: room-4-02\n    group: room4", `machines[1].group: no group is called "room4"`, `did you mean "room-4"?`},
		{"no host name where one is wanted", room, "- name: room-4-01\n    group", "- group", `x.yaml:18: machines[0]: nothing says what {HOSTNAME} is`, `add "name:"`},
		{"no address where one is wanted", room, "addresses: [192.0.2.1/24], gateways: [192.0.2.254], ", "", `machines[0]: nothing says what {ADDRESS} is`, `networks:`},
		{"a variable of nobody", room, "{ROLE}", "{ROOM}", `nothing says what {ROOM} is`, `env:`},
		{"a file that is not text", room, `text: "{HOSTNAME}\n"}` + "\n        - {partition: 2, path: /etc/network", `file: hostname}` + "\n        - {partition: 2, path: /etc/network", `only text is expanded`, ``},
		{"a group of nobody", room, "  room-4:", "  room-5: {boot: [disk]}\n  room-4:", `groups.room-5.match: the group has no machines`, ``},
	} {
		t.Run(m.name, m.refused)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("BMC", "from the environment")
	t.Setenv("EMPTY", "")
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	abs := write("good", "hunter2\nmore\n", 0o600)
	write("crlf", "hunter2\r\n", 0o400)
	write("open", "hunter2\n", 0o644)
	write("empty", "\n", 0o600)
	write("large", strings.Repeat("x", 2000), 0o600)
	for name, tt := range map[string]struct {
		secret *recipe.Secret
		want   string
		err    string
	}{
		"none":           {nil, "", ""},
		"environment":    {&recipe.Secret{Env: "BMC"}, "from the environment", ""},
		"not set":        {&recipe.Secret{Env: "BMC_OTHER"}, "", `variable "BMC_OTHER" is not set`},
		"set to nothing": {&recipe.Secret{Env: "EMPTY"}, "", `is not set`},
		"absolute":       {&recipe.Secret{File: abs}, "hunter2", ""},
		"home":           {&recipe.Secret{File: "~/good"}, "hunter2", ""},
		"project":        {&recipe.Secret{File: "good"}, "hunter2", ""},
		"CRLF":           {&recipe.Secret{File: "crlf"}, "hunter2", ""},
		"for all":        {&recipe.Secret{File: "open"}, "", "chmod 600"},
		"empty":          {&recipe.Secret{File: "empty"}, "", "is empty"},
		"large":          {&recipe.Secret{File: "large"}, "", "at most 1024 bytes"},
		"missing":        {&recipe.Secret{File: "missing"}, "", "no such file"},
		"a folder":       {&recipe.Secret{File: "."}, "", "no file"},
	} {
		got, err := tt.secret.Read(dir)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells it: %v", name, err)
		}
	}
}
