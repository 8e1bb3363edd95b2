package cache

import (
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/farboot/farboot/payload/object"
)

// programID tells this program from every other build of it. Cached layers
// depend on the code that made them as much as on their inputs: with a new
// encoder or another choice of modules, an old layer would be the wrong one,
// on the one machine that happens to have it.
//
// It is the linker's build ID (cmd/internal/buildid), which is a hash of
// everything that went in, or else a hash of the program's file.
func programID() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	defer f.Close()
	if id := buildNote(f); id != "" {
		return id, nil
	}
	ref, err := object.Of(f)
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return ref.SHA256.String(), nil
}

// buildNote returns the content of the section with the linker's build ID, or
// "" where there is none.
func buildNote(r io.ReaderAt) string {
	e, err := elf.NewFile(r)
	if err != nil {
		return ""
	}
	note := e.Section(".note.go.buildid")
	if note == nil || note.Size > 1<<10 {
		return ""
	}
	data, err := note.Data()
	if err != nil {
		return ""
	}
	return hex.EncodeToString(data)
}
