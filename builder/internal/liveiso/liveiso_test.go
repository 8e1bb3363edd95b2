//go:build long

package liveiso_test

import (
	"os"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/liveiso"
	"github.com/farboot/farboot/builder/internal/oracle"
)

// TestLarge: what boots lies behind the fourth GiB.
func TestLarge(t *testing.T) {
	path := liveiso.Large(t)
	info, err := os.Stat(path)
	if err != nil || info.Size() < 4<<30 {
		t.Fatal(info, err)
	}
	out := oracle.Output(t, oracle.Tool(t, "xorriso", "xorriso"), "-indev", path, "-find", "/live", "-type", "f", "-exec", "report_lba")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "File data lba:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
