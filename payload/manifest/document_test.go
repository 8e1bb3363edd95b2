package manifest

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocumentIDs(t *testing.T) {
	got := DocumentIDs(Identity{
		UUID: "4C4C4544-0042-3510-8050-B4C04F4D5931", Serial: "B5/../x",
		MACs: []string{"52:54:00:AB:34:56", "52:54:00:12:34:57"},
	})
	want := []string{
		"uuid-4c4c4544-0042-3510-8050-b4c04f4d5931", "serial-42352f2e2e2f78", "mac-52-54-00-ab-34-56", "mac-52-54-00-12-34-57",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("DocumentIDs (-want +got):\n%s", diff)
	}
	nameless := Identity{
		UUID: "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", Serial: strings.Repeat("x", 65), MACs: []string{"", "../../../../../.."},
	}
	if got := DocumentIDs(nameless); got != nil {
		t.Errorf("DocumentIDs of a machine without names = %q", got)
	}
}

// TestDocumentIDOfMatch: the machine asks for the name that the builder gave,
// whatever the match has beside it.
func TestDocumentIDOfMatch(t *testing.T) {
	const uuid, mac = "4c4c4544-0042-3510-8050-b4c04f4d5931", "52:54:00:12:34:56"
	serial := strings.Repeat("~", maxSerial)
	ids := DocumentIDs(Identity{UUID: uuid, Serial: serial, MACs: []string{mac}})
	for i, match := range []Match{
		{UUID: uuid, Serial: serial, MAC: mac}, {Serial: serial, MAC: mac}, {MAC: mac},
	} {
		if got := DocumentID(match); got != ids[i] {
			t.Errorf("DocumentID(%+v) = %q, want %q", match, got, ids[i])
		}
	}
	for _, match := range []Match{{}, {UUID: "../x"}, {MAC: mac + "/"}, {Serial: serial + "~"}, {MAC: mac, Serial: "a\nb"}} {
		if got := DocumentID(match); got != "" {
			t.Errorf("DocumentID(%+v) = %q, want none", match, got)
		}
	}
}

func FuzzDocumentIDs(f *testing.F) {
	f.Add("4c4c4544-0042-3510-8050-b4c04f4d5931", "B5QM5Y1", "52:54:00:12:34:56")
	f.Add("../..", "../..", "../..")
	f.Fuzz(func(t *testing.T, uuid, serial, mac string) {
		for _, id := range DocumentIDs(Identity{UUID: uuid, Serial: serial, MACs: []string{mac}}) {
			name := DocumentPath(id)
			odd := strings.ContainsFunc(id, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
			if odd || len(name) > 150 || path.Clean(name) != name || !slices.Equal(strings.Split(name, "/")[:1], []string{DocumentDir}) {
				t.Fatalf("document %q", name)
			}
		}
	})
}
