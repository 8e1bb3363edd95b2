package stock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/stock"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/object"
)

// desk is a project with a recipe and a warm cache.
type desk struct {
	dir    string
	recipe *recipe.Recipe
	parts  stock.Parts
}

// newDesk makes a project of files and the entries of a site's recipe.
func newDesk(t *testing.T, files map[string][]byte, entries string) *desk {
	t.Helper()
	d := &desk{dir: t.TempDir()}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(d.dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	d.recipe, err = recipe.Parse(filepath.Join(d.dir, "site.yaml"), []byte("kind: site\ndefault: [e]\nentries:\n"+entries))
	if err != nil {
		t.Fatal(err)
	}
	store, err := cache.Open(filepath.Join(d.dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	o := source.Options{Cache: store}
	l, err := source.Resolve(t.Context(), d.recipe, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := source.Fetch(t.Context(), d.recipe, l, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	d.parts = stock.Parts{Recipe: d.recipe, Lock: l, Blobs: blobs, Cache: store}
	return d
}

// bytes returns an object that the stock has made.
func content(t *testing.T, s *stock.Stock, ref object.Ref) []byte {
	t.Helper()
	f, ok := s.File(ref)
	if !ok || s.Paths()[ref] != f.Path {
		t.Fatalf("%s is not there", ref)
	}
	data, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got := object.OfBytes(data); got != ref {
		t.Fatalf("%s holds %s", f.Name, got)
	}
	return data
}

// TestScript: a program is what the recipe or the file says, to the byte.
func TestScript(t *testing.T) {
	d := newDesk(t, map[string][]byte{"run.sh": []byte("#!/bin/sh\nexit 3\n")}, `
  e: {title: x, script: {program: {text: "#!/bin/sh\n\techo 'ä'\n"}}}
  f: {title: x, script: {program: {file: run.sh}}}
`)
	s := stock.New(t.Context(), d.parts)
	for name, want := range map[string]string{"e": "#!/bin/sh\n\techo 'ä'\n", "f": "#!/bin/sh\nexit 3\n"} {
		e, err := d.recipe.Site.Entries[name].Manifest(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := content(t, s, e.Script.Program); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestNoScript: what the kernel would not run is told at the desk.
func TestNoScript(t *testing.T) {
	d := newDesk(t, map[string][]byte{"dos.sh": []byte("#!/bin/sh\r\nexit 0\r\n"), "plain": []byte("exit 0\n"), "elf": []byte("\x7fELF\x02")}, `
  e: {title: x, script: {program: {file: dos.sh}}}
  plain: {title: x, script: {program: {file: plain}}}
  elf: {title: x, script: {program: {file: elf}}}
`)
	for name, want := range map[string]string{"e": "file:dos.sh: its lines end in CR LF", "plain": `file:plain: does not begin with "#!"`, "elf": `file:elf: does not begin with "#!"`} {
		if _, err := d.recipe.Site.Entries[name].Manifest(stock.New(t.Context(), d.parts)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestLayer: cpio finds the files with their permissions, and a second run makes
// the same bytes.
func TestLayer(t *testing.T) {
	d := newDesk(t, map[string][]byte{"linux": []byte("kernel"), "preseed.cfg": []byte("d-i x\n")}, `
  e:
    title: x
    linux:
      kernel: {file: linux}
      files:
        preseed.cfg: {file: preseed.cfg}
        usr/lib/late.sh: {text: "#!/bin/sh\n", mode: "0755"}
        secret: {text: "x", mode: "0600"}
`)
	var refs []object.Ref
	for range 2 {
		s := stock.New(t.Context(), d.parts)
		e, err := d.recipe.Site.Entries["e"].Manifest(s)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, e.Linux.Initrd...)
		dir := t.TempDir()
		cmd := exec.Command(oracle.Tool(t, "cpio", "cpio"), "-idm", "--quiet")
		cmd.Dir, cmd.Stdin = dir, bytes.NewReader(content(t, s, e.Linux.Initrd[0]))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cpio: %v\n%s", err, out)
		}
		for name, want := range map[string]string{"preseed.cfg": "-rw-r--r-- d-i x\n", "usr/lib/late.sh": "-rwxr-xr-x #!/bin/sh\n", "secret": "-rw------- x"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(dir, name))
			if got := fmt.Sprintf("%v %s", info.Mode(), data); err != nil || got != want {
				t.Errorf("%s: %q, %v, want %q", name, got, err, want)
			}
		}
	}
	if len(refs) != 2 || refs[0] != refs[1] {
		t.Errorf("two runs made %v", refs)
	}
}

// TestImage: however an image is compressed, its index is that of its content.
func TestImage(t *testing.T) {
	image := make([]byte, 5<<20+777)
	for i := range 1 << 20 {
		image[i*5] = byte(rand.Uint32())
	}
	plain := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(plain, image, 0o644); err != nil {
		t.Fatal(err)
	}
	pack := func(name, pkg string, args ...string) []byte {
		out, err := exec.Command(oracle.Tool(t, name, pkg), append(args, plain)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want, err := caibx.Make(bytes.NewReader(image), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, map[string][]byte{
		"raw": image, "xz": pack("xz", "xz-utils", "-0ck"), "zst": pack("zstd", "zstd", "-1c"), "gz": pack("gzip", "gzip", "-1ck"),
	}, `
  e: {title: x, flash: {image: {file: raw}}}
  xz: {title: x, flash: {image: {file: xz}}}
  zst: {title: x, flash: {image: {file: zst}}}
  gz: {title: x, flash: {image: {file: gz}}}
`)
	s := stock.New(t.Context(), d.parts)
	for name, format := range map[string]string{"e": "", "xz": "xz", "zst": "zst", "gz": "gz"} {
		e, err := d.recipe.Site.Entries[name].Manifest(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := caibx.Decode(content(t, s, e.Flash.Index))
		if err != nil || e.Flash.Format != format {
			t.Errorf("%s: format %q, %v", name, e.Flash.Format, err)
		}
		if diff := cmp.Diff(want, got); diff != "" || got.Size() != int64(len(image)) {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		content(t, s, e.Flash.Image)
	}
}

// TestBrokenImage: what cannot be unpacked at the desk is not published.
func TestBrokenImage(t *testing.T) {
	d := newDesk(t, map[string][]byte{"cut": []byte("\xfd7zXZ\x00\x00\x04"), "empty": nil}, `
  e: {title: x, flash: {image: {file: cut}}}
  empty: {title: x, flash: {image: {file: empty}}}
`)
	for name := range d.recipe.Site.Entries {
		if e, err := d.recipe.Site.Entries[name].Manifest(stock.New(t.Context(), d.parts)); err == nil {
			t.Errorf("%s: %+v", name, e.Flash)
		}
	}
}

// TestSecrets: a key that somebody left in anything that is published is found
// before it is.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command(oracle.Tool(t, "ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	secret, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	image := append(make([]byte, 3<<20), secret...)
	if err := os.WriteFile(filepath.Join(dir, "image"), image, 0o644); err != nil {
		t.Fatal(err)
	}
	packed, err := exec.Command(oracle.Tool(t, "zstd", "zstd"), "-c", filepath.Join(dir, "image")).Output()
	if err != nil {
		t.Fatal(err)
	}
	indented := strings.ReplaceAll(string(secret), "\n", "\n          ")
	d := newDesk(t, map[string][]byte{"key": secret, "linux": []byte("kernel"), "image.zst": packed, "raw": image, "clean": []byte("image")}, `
  e: {title: x, script: {program: {file: key}}}
  text:
    title: x
    script:
      program:
        text: |
          #!/bin/sh
          `+indented+`
  layer: {title: x, linux: {kernel: {file: linux}, files: {id: {file: key}}}}
  initrd: {title: x, linux: {kernel: {file: linux}, initrd: [{file: key}]}}
  keys: {title: x, rescue: {key_files: [{file: key}]}}
  image: {title: x, flash: {image: {file: image.zst}}}
  raw: {title: x, flash: {image: {file: raw}}}
  file: {title: x, flash: {image: {file: clean}, files: [{partition: 1, path: /id, file: key}]}}
`)
	for name, e := range d.recipe.Site.Entries {
		if _, err := e.Manifest(stock.New(t.Context(), d.parts)); !errors.Is(err, leak.ErrSecret) {
			t.Errorf("%s: %v, want ErrSecret", name, err)
		}
	}
}

// TestCanceled: who interrupts the unpacking of an image is obeyed.
func TestCanceled(t *testing.T) {
	d := newDesk(t, map[string][]byte{"raw": make([]byte, 1<<20)}, `
  e: {title: x, flash: {image: {file: raw}}}
`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.recipe.Site.Entries["e"].Manifest(stock.New(ctx, d.parts)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// TestLongKeyFile: what becomes a part of the manifest is bounded.
func TestLongKeyFile(t *testing.T) {
	d := newDesk(t, map[string][]byte{"team.pub": bytes.Repeat([]byte("# nobody\n"), 10_000)}, `
  e: {title: x, rescue: {key_files: [{file: team.pub}]}}
`)
	if _, err := d.recipe.Site.Entries["e"].Manifest(stock.New(t.Context(), d.parts)); err == nil || !strings.Contains(err.Error(), "file:team.pub: 90000 bytes") {
		t.Errorf("Manifest = %v", err)
	}
}

// TestNothingIsThere: what was not made is not offered.
func TestNothingIsThere(t *testing.T) {
	d := newDesk(t, nil, "\n  e: {title: x, local: {}}\n")
	if f, ok := stock.New(t.Context(), d.parts).File(object.OfBytes(nil)); ok {
		t.Errorf("%+v", f)
	}
}
