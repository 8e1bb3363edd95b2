package kernel

import (
	"strings"
	"testing"
)

// TestPick: a machine that is no medium's gets what is asked for, with what that
// needs, and none of what every medium has.
func TestPick(t *testing.T) {
	k, err := Pick(walk(members(t, machine...)...), []string{"ext4"})
	if err != nil {
		t.Fatal(err)
	}
	if names, _ := chosen(t, k); strings.Join(names, " ") != "crc32c_generic crc32c_intel ext4 mbcache" {
		t.Errorf("picked %q", names)
	}
}
