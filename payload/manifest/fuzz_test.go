package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzManifest(f *testing.F) {
	data, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	compact := new(bytes.Buffer)
	if err := json.Compact(compact, data); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(compact.Bytes())
	f.Add(bytes.Replace(data, []byte(`"firmware": true`), []byte(`"firmware": true, "partition": {"uuid": "x"}`), 1))
	f.Add(bytes.Replace(data, []byte(`"power"`), []byte(`"hologram"`), 1))
	f.Add(bytes.Replace(data, []byte(`"epoch"`), []byte(`"optional": ["music"], "music": [], "epoch"`), 1))
	f.Add(bytes.Replace(data, []byte(`"seconds": 10`), []byte(`"password": "x", "seconds": 10`), 1))
	f.Add(bytes.Replace(data, []byte(`"vlan"`), []byte(`"wlan": 1, "vlan"`), 1))
	for _, m := range []*Manifest{document(), withDocuments()} {
		data, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			if m != nil || !errors.Is(err, ErrMalformed) {
				t.Fatalf("decode = %v, %v", m, err)
			}
			return
		}
		again, err := Encode(m)
		if unknown(m) {
			if err == nil {
				t.Fatal("what is unknown was encoded")
			}
			return
		}
		if err != nil {
			// Whole seconds may leave nothing between issue and expiry.
			if m.Issued.Truncate(time.Second).Equal(m.Expires.Truncate(time.Second)) {
				return
			}
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		m2, err := decode(again)
		if err != nil {
			t.Fatal(err)
		}
		m.Issued, m.Expires = m.Issued.Truncate(time.Second), m.Expires.Truncate(time.Second)
		if diff := cmp.Diff(m, m2, addresses); diff != "" {
			t.Fatalf("decode(encode(m)) differs:\n%s", diff)
		}
	})
}

// unknown tells whether m has lost what this program does not know.
func unknown(m *Manifest) bool {
	for _, e := range m.Entries {
		if e.Unknown != "" {
			return true
		}
	}
	for _, x := range m.Machines {
		if x.Unknown != "" || x.Menu != nil && x.Menu.Unknown != "" {
			return true
		}
	}
	return m.Menu != nil && m.Menu.Unknown != ""
}
