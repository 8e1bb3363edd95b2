package persist

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/modules"
	"github.com/farboot/farboot/payload/state"
)

// The firmware variables, as efivarfs shows them: "FarbootState-", 8 digits, and
// a vendor GUID, a random one of our own.
//
// The digits are of a hash of product, channel and lineage: media of several of
// them can take turns at a machine without making it forget. An operator makes a
// machine forget, from any Linux on it, by
//
//	chattr -i /sys/firmware/efi/efivars/FarbootState-*
//	rm /sys/firmware/efi/efivars/FarbootState-*
//
// with the digits in place of the first * where it is to forget one of them only;
// the log names them.
const (
	variablePrefix = "FarbootState-"
	variableSuffix = "-a114fb87-0761-4129-bb19-d2da2766ce80"
	// maxVariables bounds how many there are. One has 700 bytes, at most 4 KiB,
	// and firmware has 64 KiB for all of its variables; some does not start any
	// more when that is full. Who has more products has to make room.
	maxVariables = 8
	// attributes: non-volatile, and seen by boot services and at run time (UEFI
	// 2.10, section 8.2). A variable that an operating system writes needs all.
	attributes = 0x7
	// immutable is FS_IMMUTABLE_FL of include/uapi/linux/fs.h.
	immutable = 0x10
	// variableDir is where the variables are, below /sys.
	variableDir = "firmware/efi/efivars"
)

// Mount makes firmware variables readable where the firmware has any: it loads
// the file system from moduleDir, /lib/modules/<release>, and mounts it. It is
// for the agent on a real machine.
func Mount(moduleDir string) error {
	dir := path.Join("/sys", variableDir)
	if _, err := os.Stat("/sys/firmware/efi"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := loadModule(moduleDir, "efivarfs"); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	err := unix.Mount("efivarfs", dir, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("memory: mount efivarfs on %s: %w", dir, err)
	}
	return nil
}

// loadModule inserts a module and what it needs. One that the index does not
// know is taken for built in: mount will tell.
func loadModule(dir, name string) error {
	index, err := modules.Read(os.DirFS(dir))
	if err != nil {
		return err
	}
	files, err := index.Order(name)
	if errors.Is(err, modules.ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := insert(filepath.Join(dir, file)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// insert inserts one module file; one that is in already is fine.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// variable is the firmware variable, by its path.
type variable string

// variable returns the name of the variable for the state that is meant.
func (c Config) variable() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s", c.Product, c.Channel, c.Lineage))
	return fmt.Sprintf("%s%x%s", variablePrefix, sum[:4], variableSuffix)
}

// findVariable returns the variable's place, where efivarfs is mounted.
func findVariable(sys, name string) (variable, bool) {
	dir := filepath.Join(sys, variableDir)
	entries, err := os.ReadDir(dir) // without efivarfs the folder is empty
	return variable(filepath.Join(dir, name)), err == nil && len(entries) > 0
}

func (v variable) String() string {
	return "firmware variable " + strings.TrimSuffix(filepath.Base(string(v)), variableSuffix)
}

func (v variable) load() (state.State, error) {
	s, _, err := v.read()
	return s, err
}

// read returns the state and its sequence number.
func (v variable) read() (state.State, uint64, error) {
	data, err := v.bytes()
	if errors.Is(err, fs.ErrNotExist) {
		return state.State{}, 0, state.ErrNone
	}
	if err != nil {
		return state.State{}, 0, err
	}
	if len(data) < 4 || binary.LittleEndian.Uint32(data) != attributes {
		return state.State{}, 0, fmt.Errorf("%w: attributes %x, want %d", state.ErrMalformed, data[:min(len(data), 4)], attributes)
	}
	return state.Unseal(data[4:])
}

// bytes returns attributes and content. Longer ones than a state has are cut.
func (v variable) bytes() ([]byte, error) {
	f, err := os.Open(string(v))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4+state.SlotSize))
}

// save writes the variable. The firmware replaces it as a whole or not at all
// (UEFI 2.10, SetVariable), so there is one frame only.
func (v variable) save(s state.State) error {
	old, sequence, err := v.read()
	if err == nil {
		if err := state.Follows(old, s); err != nil || old.Equal(s) {
			return err
		}
	}
	if err := v.room(); err != nil {
		return err
	}
	frame, err := state.Seal(s, sequence+1)
	if err != nil {
		return err
	}
	want := append(binary.LittleEndian.AppendUint32(nil, attributes), frame...)
	if err := v.write(want); err != nil {
		return err
	}
	got, err := v.bytes()
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("what was written is not what is read")
	}
	return nil
}

// room refuses one more variable where there are many. What others remember is
// not thrown away for it: whoever starts many media on a machine would make it
// forget.
func (v variable) room() error {
	all, err := filepath.Glob(filepath.Join(filepath.Dir(string(v)), variablePrefix+"*"+variableSuffix))
	if err != nil || slices.Contains(all, string(v)) || len(all) < maxVariables {
		return err
	}
	return fmt.Errorf("the firmware holds %d of them already, of other products, channels and keys; remove some", len(all))
}

// write replaces the variable by one write, as efivarfs wants it.
func (v variable) write(data []byte) error {
	if err := unprotect(string(v)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(string(v), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// unprotect clears the immutable flag, which efivarfs gives to every variable
// that it does not know to be harmless (is_removable in fs/efivarfs).
func unprotect(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) {
		return nil // no such flags here
	}
	if err != nil || flags&immutable == 0 {
		return err
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable)
}
