package iso

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// module compiles a module of a kernel that says no more than its name.
func module(t testing.TB, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "x.ko")
	cmd := exec.Command(oracle.Tool(t, "gcc", "gcc"), "-x", "c", "-c", "-o", out, "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("static const char x[] __attribute__((section(\".modinfo\"), used)) = \"license=GPL\\0depends=\\0name=%s\";\n", name))
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, said)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// squash packs files into a squashfs.
func squash(t testing.TB, files map[string]string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, "root", name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "image")
	oracle.Output(t, oracle.Tool(t, "mksquashfs", "squashfs-tools"), append([]string{filepath.Join(dir, "root"), out, "-quiet", "-no-progress"}, args...)...)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestModules: the modules of exactly this kernel are found, wherever the ISO has them.
func TestModules(t *testing.T) {
	const release = "6.1.0-1-amd64"
	below := func(dir string, names ...string) map[string]string {
		files := map[string]string{}
		for _, name := range names {
			files[dir+"/kernel/drivers/"+name+".ko"] = module(t, name)
		}
		return files
	}
	fuse, nbd := below("usr/lib/modules/"+release, "fuse", "loop"), below("lib/modules/"+release, "nbd")
	builtin := map[string]string{"lib/modules/" + release + "/modules.builtin": "kernel/drivers/nbd.ko\n", "lib/modules/" + release + "/kernel/x.ko": module(t, "x")}
	for name, c := range map[string]struct {
		files  map[string]string // of the ISO
		initrd map[string]string
		want   string // a module
		err    string
	}{
		"in the root":      {map[string]string{"live/a.squashfs": squash(t, fuse)}, nil, "fuse", ""},
		"in the second":    {map[string]string{"live/a.squashfs": squash(t, below("usr/lib/modules/6.2", "nbd")), "live/b/c/d": squash(t, nbd)}, nil, "nbd", ""},
		"Alpine's":         {map[string]string{"boot/modloop": squash(t, below("modules/"+release, "nbd"), "-comp", "xz")}, nil, "nbd", ""},
		"in the initrd":    {nil, fuse, "loop", ""},
		"in either":        {map[string]string{"live/a.squashfs": squash(t, nbd)}, fuse, "nbd", ""},
		"not to be read":   {map[string]string{"live/a.squashfs": squash(t, nbd, "-comp", "lzo")}, fuse, "loop", ""},
		"built in":         {map[string]string{"live/a.squashfs": squash(t, builtin)}, nil, "nbd", ""},
		"no door":          {map[string]string{"live/a.squashfs": squash(t, below("lib/modules/"+release, "fuse"))}, nil, "", "neither fuse with loop, nor nbd"},
		"of another":       {map[string]string{"live/a.squashfs": squash(t, below("lib/modules/6.2", "nbd"))}, nil, "", "0 modules"},
		"damaged squashfs": {map[string]string{"live/a.squashfs": "hsqs and then nothing"}, nil, "", "/live/a.squashfs: not a squashfs"},
	} {
		files, init := map[string]string{"live/vmlinuz": vmlinuz(release)}, maps.Clone(debian)
		maps.Copy(files, c.files)
		maps.Copy(init, c.initrd)
		files["live/initrd.img"] = boot(t, init)
		r, size := makeISO(t, files)
		s, err := Examine(r, size, Options{})
		if err != nil {
			t.Fatal(err)
		}
		k, err := s.Modules()
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v", name, err)
		case c.err != "" && c.want == "" && name != "damaged squashfs" && !errors.Is(err, ErrCannot):
			t.Errorf("%s: %v is not ErrCannot", name, err)
		case c.err == "" && (err != nil || !k.Has(c.want) || k.Release != release):
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
}
