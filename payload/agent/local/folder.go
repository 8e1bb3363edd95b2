package local

import (
	"context"
	"fmt"
)

// Folder is a file system that has a folder of a certain name at its top. It is
// mounted, for reading only, on a folder called as the Partition is below
// [Config].Dir.
type Folder struct {
	// Partition is the kernel's name of where it lies, "sda2".
	Partition string
	// Close unmounts it.
	Close func() error
}

// Folders mounts, as [Find] does, every file system on the machine's disks that has
// a folder of that name at its top, disk by disk in the order of sysfs. Nothing
// else stays mounted. What lies there is not verified by anybody.
func Folders(ctx context.Context, c Config, name string) ([]Folder, error) {
	return folders(ctx, c, mount, name)
}

func folders(ctx context.Context, c Config, mount mounter, name string) ([]Folder, error) {
	disks, err := listDisks(c.Sysfs)
	if err != nil {
		return nil, fmt.Errorf("disks: %w", err)
	}
	c.folder = name
	looks, _ := lookAt(ctx, c, mount, disks)
	var found []Folder
	for _, l := range looks {
		if l.folder != nil {
			found = append(found, *l.folder)
		}
	}
	return found, nil
}
