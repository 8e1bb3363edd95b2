package manifest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/object"
	"github.com/google/go-cmp/cmp"
)

// liveSample is a live system that uses every field.
func liveSample() *Live {
	ref := object.OfBytes([]byte("x"))
	return &Live{
		Toolbox: &ref, Hostname: "xen1.example", Timezone: "America/Argentina/Buenos_Aires", Bridge: "xenbr0",
		Password: "$6$salt$" + strings.Repeat("x", 86), SSH: &LiveSSH{Keys: []string{publicKey}, Port: 2222},
		Services: []Service{{Name: "web", Program: "/usr/bin/httpd", Args: []string{"-f", "two words"}, Restart: true}},
		Machines: []Guest{{
			Name: "web1", Type: "pvh", Kernel: ref, Initrd: []object.Ref{ref, ref}, Disk: &ref, Cmdline: `console=hvc0 x="y"`,
			Memory: 64, VCPUs: 2, MAC: "00:16:3e:00:00:01",
		}},
		Storage: true, Words: LiveWords(),
	}
}

func TestLive(t *testing.T) {
	e := Entry{Title: "Xen", Live: liveSample()}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Entry
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back); diff != "" {
		t.Error(diff)
	}
	if n := len(back.Refs()); n != 5 || back.Kind() != "live" || back.Then() != "" {
		t.Errorf("%d objects of kind %q, then %q", n, back.Kind(), back.Then())
	}
	if err := (Entry{Title: "Bare", Live: &Live{}}).Validate(); err != nil {
		t.Errorf("an empty one: %v", err)
	}
}

// TestLiveValidate breaks one thing of the sample at a time.
func TestLiveValidate(t *testing.T) {
	for name, breakIt := range map[string]func(*Live){
		"toolbox":            func(x *Live) { x.Toolbox.Size = 5 << 30 },
		"hostname":           func(x *Live) { x.Hostname = "a_b" },
		"hostname's dash":    func(x *Live) { x.Hostname = "a-.b" },
		"hostname's dots":    func(x *Live) { x.Hostname = "a..b" },
		"long hostname":      func(x *Live) { x.Hostname = strings.Repeat("x", 65) },
		"timezone":           func(x *Live) { x.Timezone = "../../etc/shadow" },
		"timezone's root":    func(x *Live) { x.Timezone = "/etc/shadow" },
		"timezone's text":    func(x *Live) { x.Timezone = "Europe/Vienna\n" },
		"bridge":             func(x *Live) { x.Bridge = "xen br" },
		"long bridge":        func(x *Live) { x.Bridge = strings.Repeat("x", 16) },
		"bridge's digit":     func(x *Live) { x.Bridge = "0" },
		"plain password":     func(x *Live) { x.Password = "correct horse battery staple" },
		"weak password":      func(x *Live) { x.Password = "$1$salt$" + strings.Repeat("x", 22) },
		"password's fields":  func(x *Live) { x.Password += ":0:0" },
		"no keys":            func(x *Live) { x.SSH.Keys = nil },
		"port":               func(x *Live) { x.SSH.Port = 65536 },
		"service's name":     func(x *Live) { x.Services[0].Name = "Web" },
		"service's program":  func(x *Live) { x.Services[0].Program = "httpd" },
		"service's argument": func(x *Live) { x.Services[0].Args[0] = "a\nb" },
		"service twice":      func(x *Live) { x.Services = append(x.Services, x.Services[0]) },
		"many services":      func(x *Live) { x.Services = slices.Repeat(x.Services, 33) },
		"machine's name":     func(x *Live) { x.Machines[0].Name = "../web1" },
		"machine's type":     func(x *Live) { x.Machines[0].Type = "hvm" },
		"no kernel":          func(x *Live) { x.Machines[0].Kernel = object.Ref{} },
		"no initrd":          func(x *Live) { x.Machines[0].Initrd[1] = object.Ref{} },
		"many initrds":       func(x *Live) { x.Machines[0].Initrd = slices.Repeat(x.Machines[0].Initrd, 9) },
		"no disk's hash":     func(x *Live) { x.Machines[0].Disk = &object.Ref{Size: 1} },
		"command line":       func(x *Live) { x.Machines[0].Cmdline = "a\nvif=[]" },
		"memory":             func(x *Live) { x.Machines[0].Memory = 15 },
		"processors":         func(x *Live) { x.Machines[0].VCPUs = -1 },
		"mac":                func(x *Live) { x.Machines[0].MAC = "00:16:3E:00:00:01" },
		"machine twice":      func(x *Live) { x.Machines = append(x.Machines, x.Machines[0]) },
		"many machines":      func(x *Live) { x.Machines = slices.Repeat(x.Machines, 65) },
		"word":               func(x *Live) { x.Words = append(x.Words, "keys") },
		"word twice":         func(x *Live) { x.Words = []string{"ssh", "ssh"} },
	} {
		x := liveSample()
		breakIt(x)
		if err := (Entry{Title: "Xen", Live: x}).Validate(); err == nil {
			t.Errorf("%s: passes", name)
		} else if strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: the error shows a password: %v", name, err)
		}
	}
}
