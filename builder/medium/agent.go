package medium

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/object"
)

// maxAgent is the most that /init may have, in bytes. DESIGN.md's budget.
const maxAgent = 12_000_000

// openAgent opens the file at path after making sure that it can be an /init
// for every x86-64 machine. What will be packed is what is read from it.
func openAgent(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := checkAgent(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("agent %q: %w", path, err)
	}
	return f, nil
}

// checkAgent looks at the program's headers.
func checkAgent(f io.ReaderAt) error {
	e, err := elf.NewFile(f)
	if err != nil || e.Machine != elf.EM_X86_64 || e.Section(".interp") != nil {
		return errors.New("not a static x86-64 program")
	}
	build, err := buildinfo.Read(f)
	if err != nil {
		return nil // not built by Go: then it is not Go's setting that matters
	}
	for _, s := range build.Settings {
		if s.Key == "GOAMD64" && s.Value != "v1" {
			return fmt.Errorf("built for GOAMD64=%s, which older machines do not run; want v1", s.Value)
		}
	}
	return nil
}

// agentLayer holds /init and the folders that it mounts things on. The agent is
// read into memory only where its layer is made: to hash it is all that most
// builds need.
func (c *composer) agentLayer() (tree.File, object.Ref, error) {
	ref, err := object.Of(io.NewSectionReader(c.agent, 0, maxAgent+1))
	if err != nil {
		return tree.File{}, object.Ref{}, fmt.Errorf("agent: %w", err)
	}
	if ref.Size > maxAgent {
		return tree.File{}, object.Ref{}, fmt.Errorf("agent %q: more than %d bytes", c.agent.Name(), maxAgent)
	}
	key := keyOf("agent", ref, c.compression(), c.m.Epoch)
	return c.layer(key, func() ([]initramfs.File, error) {
		data := make([]byte, ref.Size)
		if _, err := c.agent.ReadAt(data, 0); err != nil {
			return nil, fmt.Errorf("agent: %w", err)
		}
		// Somebody may be building it right now.
		if err := checkAgent(bytes.NewReader(data)); err != nil || object.OfBytes(data) != ref {
			return nil, fmt.Errorf("agent %q: changes while it is read", c.agent.Name())
		}
		bin := tree.Bytes("init", data)
		bin.Mode = 0o755
		files := initramfs.FromTree(bin)
		for _, dir := range []string{"dev", "etc", "proc", "run", "sys", "tmp"} {
			files = append(files, initramfs.Dir(dir, 0o755))
		}
		return append(files, initramfs.CharDevice("dev/console", 0o600, 5, 1)), nil
	})
}
