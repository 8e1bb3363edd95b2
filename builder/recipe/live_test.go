package recipe_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// liveMedium has every key of a live entry, and asks no site.
const liveMedium = `kind: medium
name: xen
kernel: {deb: linux-image-amd64}
trust: keys
site: []
toolbox: {packages: [xen-utils-4.17]}
fallback:
  - title: Xen
    live:
      hostname: xen1.example
      timezone: Europe/Vienna
      bridge: xenbr0
      ssh: {key_files: [{file: admin.pub}], port: 2222}
      services:
        - {name: web, program: /usr/sbin/nginx, args: ["-g", "daemon off;"], restart: true}
      machines:
        - name: web1
          memory: 48MiB
          modules: [xen-netfront]
          initrd: [{file: base.img}]
          files: {init: {text: "#!/bin/sh\n", mode: "0755"}}
          cmdline: console=hvc0
          mac: "00:16:3e:00:00:01"
        - name: web2
          type: pvh
          kernel: {file: vmlinuz}
          disk: {file: disk.img}
          memory: 1GiB
          vcpus: 2
      storage: true
      words: [hostname, ssh]
`

func TestLiveManifest(t *testing.T) {
	r, err := recipe.Parse("recipes/xen.yaml", []byte(liveMedium))
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Medium.Fallback[0].Manifest(maker{})
	if err != nil {
		t.Fatal(err)
	}
	disk := of("file:disk.img")
	want := manifest.Entry{Title: "Xen", Live: &manifest.Live{
		Hostname: "xen1.example", Timezone: "Europe/Vienna", Bridge: "xenbr0",
		SSH:      &manifest.LiveSSH{Keys: []string{publicKey(1), publicKey(2)}, Port: 2222},
		Services: []manifest.Service{{Name: "web", Program: "/usr/sbin/nginx", Args: []string{"-g", "daemon off;"}, Restart: true}},
		Machines: []manifest.Guest{
			{
				Name: "web1", Kernel: of("kernel"), Initrd: []object.Ref{of("file:base.img"), of(`modules:["xen-netfront"]`), of("layer:init -rwxr-xr-x")},
				Cmdline: "console=hvc0", Memory: 48, MAC: "00:16:3e:00:00:01",
			},
			{Name: "web2", Type: "pvh", Kernel: of("file:vmlinuz"), Disk: &disk, Memory: 1024, VCPUs: 2},
		},
		Storage: true, Words: []string{"hostname", "ssh"},
	}}
	got.Live.SSH.Keys[0], got.Live.SSH.Keys[1] = publicKey(1), publicKey(2) // comments are authkey's matter
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, in := range r.Inputs() {
		names = append(names, in.Name())
	}
	if diff := cmp.Diff([]string{"deb:linux-image-amd64", "file:admin.pub", "file:base.img", "file:vmlinuz", "file:disk.img"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Medium.Fallback[0].Manifest(maker{errors.New("out of stock")}); err == nil {
		t.Error("an object that cannot be made is no error")
	}
}

// One thing of the recipe is changed at a time.
func TestLiveRefused(t *testing.T) {
	for change, phrase := range map[[2]string]string{
		{"xen1.example", "xen_1"}:                                        "hostname",
		{"Europe/Vienna", "../Vienna"}:                                   "timezone",
		{"bridge: xenbr0", "bridge: my bridge"}:                          "bridge",
		{"bridge: xenbr0", "password: secret"}:                           "password",
		{"ssh: {key_files: [{file: admin.pub}], port: 2222}", "ssh: {}"}: "nobody could log in",
		{"port: 2222", "port: 70000"}:                                    "70000",
		{"program: /usr/sbin/nginx", "program: nginx"}:                   "absolute path",
		{"name: web2", "name: web1"}:                                     `"web1" stands twice`,
		{"48MiB", "48MB"}:                                                "no whole MiB",
		{"48MiB", "8MiB"}:                                                "memory of 8 MiB",
		{"type: pvh", "type: hvm"}:                                       `type "hvm"`,
		{"{file: vmlinuz}", "{file: vmlinuz}\n          modules: [x]"}:   "own kernel",
		{"words: [hostname, ssh]", "words: [keys]"}:                      "word",
		{"toolbox: {packages: [xen-utils-4.17]}", "timeout: 1"}:          "the medium has none",
		{"      bridge", "      toolbox: small\n      bridge"}:           "a medium has one toolbox",
		{"storage: true", "storages: true"}:                              "unknown",
	} {
		text := strings.Replace(liveMedium, change[0], change[1], 1)
		if text == liveMedium {
			t.Fatalf("%q changes nothing", change)
		}
		if _, err := recipe.Parse("recipes/xen.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), phrase) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v; want %q", change, err, phrase)
		}
	}
	if _, err := recipe.Parse("recipes/xen.yaml", []byte(liveMedium[:strings.Index(liveMedium, "fallback:")])); err == nil || !strings.Contains(err.Error(), "nobody to ask") {
		t.Errorf("neither a site nor a fallback: %v", err)
	}
}
