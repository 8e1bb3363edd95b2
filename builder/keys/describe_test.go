package keys

import (
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// TestDescribeEntries: who signs is told who may log in, what is run as root and
// which disk is lost.
func TestDescribeEntries(t *testing.T) {
	ref := object.OfBytes([]byte("x"))
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEw6VSDgdXPuB1YnhE5SJt9XtQHBH0G3YQFTM+iF1UX anna@desk"
	m := manifest.Manifest{Entries: map[string]manifest.Entry{
		"disk":   {Title: "Disk", Local: &manifest.Local{}},
		"image":  {Title: "Image", Flash: &manifest.Flash{Image: ref, Disk: manifest.Disk{Serial: "S3Z8", MaxSize: 7}}},
		"later":  {Title: "Later", Unknown: "hologram"},
		"repair": {Title: "Repair", Script: &manifest.Script{Program: ref, Args: []string{"--yes", "a b"}, Then: manifest.ThenOff}},
		"rescue": {Title: "Rescue", Rescue: &manifest.Rescue{Keys: []string{key, "half a key"}}},
	}}
	r, err := (*Set)(nil).describeManifest(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(r.Summary, "\n")
	for _, want := range []string{
		`entry disk: "Disk"; local`,
		`entry image: "Image"; OVERWRITES a disk (serial "S3Z8", id "", 0 to 7 bytes, pick "") with ` + ref.SHA256.String() + ` and 0 files, then reboot`,
		`entry later: "Later"; hologram`,
		`entry repair: "Repair"; runs ` + ref.SHA256.String() + ` with arguments "--yes a b", then off`,
		`entry rescue: "Rescue"; lets 2 keys in by SSH, port 22, then next`,
		// The fingerprint is ssh-keygen -l's.
		`entry rescue: may log in: SHA256:1TcPT7+m5BAvP5zJZ//Ul1ICP+EyqMeaCPB93NXqhGE "anna@desk"`,
		`entry rescue: may log in: no key`,
	} {
		if !strings.Contains(text+"\n", want+"\n") {
			t.Errorf("no line %s in\n%s", want, text)
		}
	}
}
