package manifest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUnknownKind: an old medium meets a new site. The entry that it does not
// know is there by name, and the others are as good as ever.
func TestUnknownKind(t *testing.T) {
	data, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	entry := func(text string) []byte {
		return bytes.Replace(data, []byte(`"entries": {`), []byte(`"entries": {"new": `+text+`,`), 1)
	}
	m, err := decode(entry(`{"title": "Something new", "hologram": {"lens": [1, 2], "size": -1}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Entries["new"]; got.Unknown != "hologram" || got.Title != "Something new" || m.Entries["memtest"].Linux == nil {
		t.Errorf("entries %+v", m.Entries)
	}
	if _, err := Encode(m); err == nil {
		t.Error("Encode writes an entry that it does not know")
	}
	for _, text := range []string{
		`{"title": "x"}`, `{"hologram": {}}`, `{"title": "x", "a": 1, "b": 2}`, `[]`, `"x"`,
		`{"title": "x", "hologram": {}, "linux": {}}`, `{"title": "x", "power": {}, "local": {}}`,
	} {
		if _, err := decode(entry(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("entry %s: %v, want ErrMalformed", text, err)
		}
	}
}

// TestUnknownField: an old medium meets an entry of a kind that it knows, with a
// field that it does not. Whatever the field means, not even a field that
// tightens is ignored: the entry cannot be started. The others can.
func TestUnknownField(t *testing.T) {
	data, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	entry := func(text string) []byte {
		return bytes.Replace(data, []byte(`"entries": {`), []byte(`"entries": {"new": {"title": "New", `+text+`},`), 1)
	}
	const ref = `{"size": 1, "sha256": "d8808aa4ca188560da1e6d749dcb930c87a5fd8b11ebff1f3fa6d728af35203d"`
	for text, want := range map[string]string{
		`"linux": {"kernel": ` + ref + `}, "cmdline": "", "only_if_sealed": true}`:                "linux+only_if_sealed",
		`"linux": {"kernel": ` + ref + `}, "cmdline": "", "zeta": [{"a": [1]}], "alpha": "x"}`:    "linux+alpha",
		`"linux": {"kernel": ` + ref + `, "measured": {}}, "cmdline": ""}`:                        "linux+kernel",
		`"linux": {"kernel": ` + ref + `}, "initrd": [` + ref + `, "offset": 7}], "cmdline": ""}`: "linux+initrd",
		`"linux": {"more": 1}`:                     "linux+more",
		`"local": {"disk": "x", "partition": 2}`:   "local+partition",
		`"power": {"action": "later", "in": 3600}`: "power+in",
	} {
		m, err := decode(entry(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := m.Entries["new"]
		if diff := cmp.Diff(Entry{Title: "New", Unknown: want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		delete(m.Entries, "new")
		if diff := cmp.Diff(sample(), m, addresses); diff != "" {
			t.Errorf("%s: what else the manifest lists (-want +got):\n%s", text, diff)
		}
	}
	// What this program knows is held to what it knows.
	for _, text := range []string{
		`"linux": {"kernel": ` + ref + `}, "cmdline": 7}`, `"linux": {"kernel": ` + ref + `}, "cmdline": 7, "more": 1}`,
		`"linux": []`, `"local": "x"`, `"power": {"action": "later"}`, `"power": {"action": 1, "more": 1}`, `"linux": {"-": 1}`,
		`"linux": {"kernel": ` + ref + `}, "cmdline": "", "watchdog": 1e2}`, `"linux": {"kernel": ` + ref + `}, "cmdline": "", "watchdog": 7}`,
	} {
		if _, err := decode(entry(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("entry %s: %v, want ErrMalformed", text, err)
		}
	}
}
