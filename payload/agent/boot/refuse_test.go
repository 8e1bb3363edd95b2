package boot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// refused fails if anything was loaded, or the reason is not on its own line.
func refused(t *testing.T, l *lab, err error, want string) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v, want it to be trying still", err)
	}
	if len(l.loaded) != 0 || l.executed != 0 {
		t.Errorf("loaded %d kernels and started %d", len(l.loaded), l.executed)
	}
	if !slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, want) }) {
		t.Errorf("no line with %q", want)
	}
	if len(l.said("waiting ")) != 1 {
		t.Error("nothing says that the agent waits")
	}
	if t.Failed() {
		t.Logf("log:\n%s", strings.Join(l.lines, "\n"))
	}
}

// Everything that is not exactly what the medium's keys signed, for this
// product, architecture and channel, ends in a named reason and no kexec.
func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		want string
		set  func(t *testing.T, l *lab, files map[string][]byte)
	}{
		"no manifest": {"manifest: [not-found] ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			delete(files, manifest.File)
		}},
		"unsigned": {"manifest: [untrusted] ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			delete(files, manifest.Signature)
		}},
		"empty signature": {"manifest: [untrusted] ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[manifest.Signature] = nil
		}},
		"foreign signature": {"manifest: [untrusted] ", func(t *testing.T, _ *lab, files map[string][]byte) {
			files[manifest.Signature] = trusttest.New(t, "demo", built).Sign(t, files[manifest.File], built)
		}},
		"signed by the root key": {"manifest: [untrusted] ", func(t *testing.T, l *lab, files map[string][]byte) {
			files[manifest.Signature] = l.keys.Root.Sign(t, trust.PurposeManifest, files[manifest.File], built)
		}},
		"signed for another purpose": {"manifest: [untrusted] ", func(t *testing.T, l *lab, files map[string][]byte) {
			files[manifest.Signature] = l.keys.Manifest.Sign(t, trust.PurposeStatement, files[manifest.File], built)
		}},
		"one bit of the manifest": {"manifest: [untrusted] ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[manifest.File] = flip(files[manifest.File])
		}},
		"one bit of the signature": {"manifest: [untrusted] ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[manifest.Signature] = flip(files[manifest.Signature])
		}},
		"no JSON, but signed": {"manifest: [malformed] ", func(t *testing.T, l *lab, files map[string][]byte) {
			files[manifest.File] = []byte("#!/bin/sh\n")
			files[manifest.Signature] = l.keys.Sign(t, files[manifest.File], built)
		}},
		"too large": {"manifest: [too-large] ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[manifest.File] = make([]byte, manifest.MaxSize+1)
		}},
		"large signature": {"manifest: [too-large] ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[manifest.Signature] = make([]byte, trust.MaxSignatureSize+1)
		}},
		"captive portal": {"manifest: [portal] ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[manifest.File] = []byte("<!DOCTYPE html><html><body>Please log in")
		}},
		"kernel with a wrong byte": {"installer: [corrupt] kernel: ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[object.OfBytes(kernel).Path()] = flip(kernel)
		}},
		"initrd with a wrong byte": {"installer: [corrupt] initrd 2 of 2: ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[object.OfBytes(second).Path()] = flip(second)
		}},
		"longer initrd": {"installer: [corrupt] initrd 1 of 2: ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			files[object.OfBytes(first).Path()] = append(slices.Clone(first), 0)
		}},
		"initrd missing": {"installer: [not-found] initrd 1 of 2: ", func(_ *testing.T, _ *lab, files map[string][]byte) {
			delete(files, object.OfBytes(first).Path())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			files := l.files(t)
			tc.set(t, l, files)
			l.site(t, files)
			refused(t, l, l.run(t), tc.want)
		})
	}
}

// flip returns a copy of data with one bit changed, in its middle.
func flip(data []byte) []byte {
	data = slices.Clone(data)
	data[len(data)/2] ^= 1
	return data
}

// A genuine manifest for somebody else is none for this medium.
func TestWrongProduct(t *testing.T) {
	for name, set := range map[string]func(*manifest.Manifest){
		"product": func(m *manifest.Manifest) { m.Product = "other" },
		"arch":    func(m *manifest.Manifest) { m.Arch = "arm64" },
		"channel": func(m *manifest.Manifest) { m.Channel = "testing" },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			set(&l.manifest)
			l.site(t, l.files(t))
			refused(t, l, l.run(t), "manifest: [wrong-product] ")
		})
	}
}
