package manifest

import "testing"

// A machine that does not know a name of its own is not the one that a record
// names by it.
func TestUnknownNamesDoNotFit(t *testing.T) {
	for name, m := range map[string]Match{
		"uuid":   {UUID: "4c4c4544-0042-3510-8052-b4c04f4e4d31"},
		"serial": {Serial: "ABC"},
		"mac":    {MAC: "52:54:00:12:34:56"},
		"both":   {UUID: "4c4c4544-0042-3510-8052-b4c04f4e4d31", MAC: "52:54:00:12:34:57"},
	} {
		if m.fits(Identity{}) || m.fits(Identity{MACs: []string{"52:54:00:12:34:57"}}) {
			t.Errorf("%s fits a machine without one", name)
		}
	}
}
