package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/fat"
	"github.com/farboot/farboot/payload/state"
)

// systemPartition is the number of the EFI system partition on a stick of
// farboot, see builder/medium/hybrid.
const systemPartition = "PARTN=1"

// ReadFile reads a file of at most that many bytes from the medium's stick, which its
// owner can write with any computer, and returns where it was: from the partition for
// data, if there is one that has the file, or else from the EFI system partition.
// Where no stick has it the error is fs.ErrNotExist. It does not wait for a stick:
// [Places.Load] does.
func (p *Places) ReadFile(name string, most int64) (data []byte, from string, err error) {
	for _, node := range systemPartitions(p.Sys, p.Dev, p.Build) {
		if p.lost[node.String()] {
			continue
		}
		data, err = within(p, node, func() ([]byte, error) { return node.read(name, most) })
		if !errors.Is(err, fs.ErrNotExist) {
			return data, node.String(), err
		}
		from = node.String()
	}
	if from != "" {
		return nil, from, err
	}
	return nil, "", fmt.Errorf("%s: %w: there is no stick of this medium", name, fs.ErrNotExist)
}

// system is an EFI system partition, or one for data, by its device node.
type system string

func (s system) String() string { return "partition " + string(s) }

// read reads a file of it.
func (s system) read(name string, most int64) ([]byte, error) {
	f, err := os.Open(string(s))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return fat.ReadFile(f, name, most)
}

// systemPartitions lists the partitions for data, and then the EFI system partitions,
// beside those for the state.
func systemPartitions(sys, dev, build string) []system {
	var found []system
	for _, dir := range statePartitions(sys, build) {
		real, err := filepath.EvalSymlinks(dir) // below the folder of its disk
		if err != nil {
			continue
		}
		siblings, _ := filepath.Glob(filepath.Join(filepath.Dir(real), "*", "uevent"))
		for _, uevent := range siblings {
			node, ok := strings.CutPrefix(line(uevent, "DEVNAME="), "DEVNAME=")
			s := system(filepath.Join(dev, node))
			switch {
			case !ok || !filepath.IsLocal(node) || slices.Contains(found, s):
			case line(uevent, "PARTNAME=") == "PARTNAME="+state.DataName:
				found = append([]system{s}, found...)
			case line(uevent, "PARTN=") == systemPartition:
				found = append(found, s)
			}
		}
	}
	return found
}
