package keys

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

// publication returns one of a version, dated by it.
func publication(epoch, version int64) Publication {
	return Publication{
		Arch: "amd64", Channel: "stable", Statement: epoch, Epoch: epoch, Version: version,
		SHA256: object.OfBytes([]byte{byte(version)}).SHA256,
		Issued: time.Date(2026, 11, 22, 0, int(version%60), 0, 0, time.UTC),
	}
}

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	if p, err := LoadPublished(dir); err != nil || p.Floor("amd64", "stable") != (state.Floor{}) {
		t.Errorf("nothing was published: %+v, %v", p, err)
	}
	for _, pub := range []Publication{publication(1, 7), publication(1, 6), publication(1, 8), publication(2, 1), publication(1, 9)} {
		if err := Record(dir, pub); err != nil {
			t.Fatal(err)
		}
	}
	other := publication(1, 3)
	other.Channel = "edge"
	if err := Record(dir, other); err != nil {
		t.Fatal(err)
	}
	p, err := LoadPublished(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Publication{other, publication(2, 1)}, p.Published); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	want := publication(2, 1)
	floor := state.Floor{Statement: 2, Epoch: 2, Version: 1, SHA256: want.SHA256, Issued: want.Issued}
	if got := p.Floor("amd64", "stable"); got != floor {
		t.Errorf("floor %+v, want %+v", got, floor)
	}
	if _, ok := p.Find("arm64", "stable"); ok {
		t.Error("a channel that was never published is found")
	}
	again := publication(2, 1)
	again.SHA256 = object.OfBytes([]byte("other")).SHA256
	if err := Record(dir, again); err == nil || !strings.Contains(err.Error(), "version 1 of amd64/stable was published with") {
		t.Errorf("other bytes under the same version: %v", err)
	}
	again = publication(2, 1)
	again.Statement = 5
	if err := Record(dir, again); err != nil {
		t.Fatal(err)
	}
	if p, err = LoadPublished(dir); err != nil || p.Floor("amd64", "stable").Statement != 5 {
		t.Errorf("the same under statement 5: %+v, %v", p, err)
	}
	for name, spoil := range map[string]func(p *Publication){
		"arch":      func(p *Publication) { p.Arch = "x86/64" },
		"channel":   func(p *Publication) { p.Channel = "" },
		"epoch":     func(p *Publication) { p.Epoch = 0 },
		"version":   func(p *Publication) { p.Version = -1 },
		"statement": func(p *Publication) { p.Statement = 0 },
		"hash":      func(p *Publication) { p.SHA256 = object.ID{} },
		"date":      func(p *Publication) { p.Issued = time.Time{} },
	} {
		pub := publication(3, 1)
		spoil(&pub)
		if err := Record(dir, pub); err == nil {
			t.Errorf("recorded a publication with a bad %s", name)
		}
	}
	if err := Record(filepath.Join(dir, "none"), publication(1, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// TestRecordTogether: two channels are published at the same time.
func TestRecordTogether(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for _, channel := range []string{"edge", "stable"} {
		wg.Go(func() {
			for v := range int64(20) {
				pub := publication(1, v+1)
				pub.Channel = channel
				if err := Record(dir, pub); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	p, err := LoadPublished(dir)
	if err != nil || len(p.Published) != 2 || p.Published[0].Version != 20 || p.Published[1].Version != 20 {
		t.Errorf("published %+v, %v", p, err)
	}
}

func TestLoadPublishedRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := Record(dir, publication(1, math.MaxInt64)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, PublishedFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	entry := string(good[strings.Index(string(good), "[")+1 : strings.LastIndex(string(good), "]")])
	for what, text := range map[string]string{
		"empty":         "",
		"other format":  strings.Replace(string(good), `"format": 1`, `"format": 2`, 1),
		"unknown field": strings.Replace(string(good), `"arch"`, `"host"`, 1),
		"twice":         strings.Replace(string(good), entry, entry+","+entry, 1),
		"no hash":       strings.Replace(string(good), publication(1, math.MaxInt64).SHA256.String(), strings.Repeat("0", 64), 1),
		"large":         string(good) + strings.Repeat(" ", maxFile),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if p, err := LoadPublished(dir); err == nil || !strings.Contains(err.Error(), name) || p.Published != nil {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
		if err := Record(dir, publication(1, 1)); err == nil {
			t.Errorf("%s: was written over", what)
		}
	}
}

func FuzzPublished(f *testing.F) {
	good, err := Published{Format: publishedFormat, Published: []Publication{publication(1, 7)}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1,"published":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodePublished(data)
		if err != nil {
			return
		}
		for _, pub := range p.Published {
			if err := p.Floor(pub.Arch, pub.Channel).Check(); err != nil {
				t.Error(err)
			}
		}
		again, err := p.encode()
		if err == nil {
			_, err = decodePublished(again)
		}
		if err != nil {
			t.Errorf("written once more: %v", err)
		}
	})
}
