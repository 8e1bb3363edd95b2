package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/object"
)

// changed returns the sample's text with each old replaced by its new.
func changed(t *testing.T, pairs ...string) []byte {
	t.Helper()
	data, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !bytes.Contains(data, []byte(pairs[i])) {
			t.Fatalf("the sample has no %s", pairs[i])
		}
		data = bytes.Replace(data, []byte(pairs[i]), []byte(pairs[i+1]), 1)
	}
	return data
}

// TestUnknownOfMachine: an old medium meets a record that says more than it
// knows. That machine boots nothing, and least of all the default; the others
// are as they were.
func TestUnknownOfMachine(t *testing.T) {
	its, other := Identity{MACs: []string{"52:54:00:12:34:56"}}, Identity{MACs: []string{"52:54:00:00:00:01"}}
	for text, want := range map[string]string{
		`"sealed": true, "networks"`:           "sealed",
		`"zeta": {"a": [1]}, "networks"`:       "zeta",
		`"boot": ["disk"], "x": 1, "networks"`: "x",
	} {
		data := changed(t, `"networks"`, text)
		if strings.Contains(text, "boot") {
			data = bytes.Replace(data, []byte(`"boot": [
        "installer",
        "memtest"
      ],`), nil, 1)
		}
		m, err := decode(data)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := m.For(its)
		if diff := cmp.Diff(Machine{Match: Match{MAC: "52:54:00:12:34:56"}, Unknown: want}, got, addresses); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if got := m.Select(other); !slices.Equal(got, []string{"installer"}) {
			t.Errorf("%s: another machine boots %q", text, got)
		}
		if _, err := Encode(m); err == nil {
			t.Errorf("%s: Encode writes a record that it does not know", text)
		}
	}
	m, err := decode(changed(t, `"vlan": 7`, `"vlan": 7, "wifi": "x"`))
	if err != nil || m.For(its).Unknown != "networks" {
		t.Errorf("a network with an unknown field: %v, %+v", err, m)
	}
	for name, data := range map[string][]byte{
		// Whom a record is for must be known.
		"match":      changed(t, `"mac": "52:54:00:12:34:56"`, `"mac": "52:54:00:12:34:56", "rack": "7"`),
		"no match":   changed(t, `"match": {`, `"who": {`),
		"its type":   changed(t, `"vlan": 7`, `"vlan": "7", "wifi": "x"`),
		"its name":   changed(t, `"networks"`, `"-": 1, "networks"`),
		"a bad name": changed(t, `"networks"`, `"Sealed": true, "networks"`),
	} {
		if _, err := decode(data); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

// TestUnknownOfMenu: a menu that may be for some people only is not shown, and
// no other in its place.
func TestUnknownOfMenu(t *testing.T) {
	m, err := decode(changed(t, `"seconds": 1800`, `"seconds": 1800, "password": "x"`))
	if err != nil {
		t.Fatal(err)
	}
	got := m.For(Identity{MACs: []string{"52:54:00:12:34:56"}})
	if diff := cmp.Diff(&Menu{Unknown: "password"}, got.Menu); diff != "" || len(got.Boot) != 2 {
		t.Errorf("the machine boots %q with the menu (-want +got):\n%s", got.Boot, diff)
	}
	if _, err := Encode(m); err == nil {
		t.Error("Encode writes a menu that it does not know")
	}
	if _, err := decode(changed(t, `"seconds": 10`, `"seconds": "10"`)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a menu of text: %v, want ErrMalformed", err)
	}
}

// TestUnknownLimit: a limit on what this program does not do changes nothing.
func TestUnknownLimit(t *testing.T) {
	m, err := decode(changed(t, `"network": 30`, `"network": 30, "radio": {"seconds": 5}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample().Limits, m.Limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}

// TestOptional: what a later version adds to the manifest as a whole, and calls
// optional, an old medium passes over. What is not called so it refuses.
func TestOptional(t *testing.T) {
	for name, data := range map[string][]byte{
		"one":         changed(t, `"entries"`, `"optional": ["music"], "music": {"a": [1]}, "entries"`),
		"among known": changed(t, `"entries"`, `"optional": ["menu", "music", "absent"], "music": 7, "entries"`),
		"known only":  changed(t, `"entries"`, `"optional": ["menu", "default"], "entries"`),
	} {
		m, err := decode(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m.Optional = nil
		if diff := cmp.Diff(sample(), m, addresses); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, data := range map[string][]byte{
		"another":         changed(t, `"entries"`, `"optional": ["music"], "song": 1, "entries"`),
		"one of two":      changed(t, `"entries"`, `"optional": ["music"], "music": 1, "song": 1, "entries"`),
		"in an entry":     changed(t, `"entries": {`, `"optional": ["lens"], "entries": {"new": {"title": "x", "lens": {}, "mirror": {}},`),
		"in the match":    changed(t, `"entries"`, `"optional": ["rack"], "entries"`, `"mac": "`, `"rack": "7", "mac": "`),
		"a known one bad": changed(t, `"entries"`, `"optional": ["menu"], "entries"`, `"seconds": 10`, `"seconds": "10"`),
		"twice inside":    changed(t, `"entries"`, `"optional": ["music"], "music": {"a": 1, "a": 2}, "entries"`),
		"twice":           changed(t, `"entries"`, `"optional": ["music"], "music": 1, "music": 2, "entries"`),
		"bad name":        changed(t, `"entries"`, `"optional": ["music", "\""], "music": 1, "entries"`),
		"no list":         changed(t, `"entries"`, `"optional": "music", "music": 1, "entries"`),
		"of numbers":      changed(t, `"entries"`, `"optional": [7], "music": 1, "entries"`),
	} {
		if _, err := decode(data); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestFor(t *testing.T) {
	m := sample()
	for _, c := range []struct {
		name string
		id   Identity
		boot []string
		menu *Menu
		env  Env
	}{
		{"its own menu", Identity{MACs: []string{"52:54:00:12:34:56"}}, []string{"installer", "memtest"}, &Menu{Seconds: 1800}, Env{"HOST": "web1"}},
		{"the site's menu", Identity{UUID: "4c4c4544-0042-3510-8050-b4c04f4d5931", Serial: "B5QM5Y1"}, []string{"memtest"}, m.Menu, nil},
		{"unknown", Identity{}, []string{"installer"}, m.Menu, nil},
	} {
		got := m.For(c.id)
		if diff := cmp.Diff(Machine{Match: got.Match, Networks: got.Networks, Boot: c.boot, Menu: c.menu, Env: c.env}, got, addresses); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestRefs: what is published, kept, looked for among the revoked and given to
// scripts is all that has a hash in the text.
func TestRefs(t *testing.T) {
	m := sample()
	data, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	got := m.Refs()
	for _, ref := range got {
		id := []byte(ref.SHA256.String())
		if !bytes.Contains(data, id) {
			t.Errorf("%s is not in the text", ref)
		}
		data = bytes.ReplaceAll(data, id, nil)
		if byID, ok := m.Object(ref.SHA256.String()); !ok || byID != ref {
			t.Errorf("Object(%s) = %v, %v", ref.SHA256, byID, ok)
		}
	}
	if rest := bytes.Count(data, []byte(`"sha256": "`)) - bytes.Count(data, []byte(`"sha256": ""`)); rest != 0 || len(got) != 9 {
		t.Errorf("%d references, %d of the text left out", len(got), rest)
	}
	if ref, ok := m.Object("data.tar.gz"); !ok || ref != m.Files["data.tar.gz"] {
		t.Errorf("by name: %v, %v", ref, ok)
	}
	for _, name := range []string{"", "installer", "data.tar", object.OfBytes([]byte("other")).SHA256.String(), strings.ToUpper(got[0].SHA256.String())} {
		if ref, ok := m.Object(name); ok {
			t.Errorf("Object(%q) = %v", name, ref)
		}
	}
}

func TestEnv(t *testing.T) {
	data, err := json.Marshal(Env{"B": "1=2", "A": ""})
	if err != nil || string(data) != `["A=","B=1=2"]` {
		t.Errorf("%s, %v", data, err)
	}
	for _, text := range []string{`["A"]`, `["A=1","A=2"]`, `{"A":"1"}`, `[1]`} {
		if err := json.Unmarshal([]byte(text), new(Env)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}
