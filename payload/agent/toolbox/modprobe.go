package toolbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/farboot/farboot/payload/modules"
	"golang.org/x/sys/unix"
)

// ModprobeName is what the agent is called when the kernel asks it for a module.
const ModprobeName = "modprobe"

const (
	// modprobeLink is where the kernel looks by default (CONFIG_MODPROBE_PATH), and
	// modprobeFile where it can be told (Documentation/admin-guide/sysctl/kernel.rst).
	modprobeLink = "/sbin/" + ModprobeName
	modprobeFile = "/proc/sys/kernel/modprobe"
)

// AnswerKernel makes the agent's program, under the name of [ModprobeName], what
// the kernel starts when it wants a module: for a file system that is mounted, a
// cipher, a kind of RAID. It is for PID 1 of a real machine only.
func AnswerKernel() error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("modules on demand: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(modprobeLink), 0o755); err != nil {
		return fmt.Errorf("modules on demand: %w", err)
	}
	if err := os.Symlink(program, modprobeLink); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("modules on demand: %w", err)
	}
	if err := os.WriteFile(modprobeFile, []byte(modprobeLink+"\n"), 0); err != nil {
		return fmt.Errorf("modules on demand: %w", err)
	}
	return nil
}

// Modprobe is what the kernel starts: with "-q", "--", and the name or an alias of
// a module (call_modprobe in kernel/module/kmod.c). Modules lie in dir,
// /lib/modules/<release>. It loads each that has the name or the alias, with what
// they need; the kernel looks by itself whether that was of use.
func Modprobe(dir string, args []string) error {
	if len(args) == 0 {
		return errors.New("modprobe: which module?")
	}
	files, err := wanted(dir, args[len(args)-1])
	for _, file := range files {
		err = errors.Join(err, insert(filepath.Join(dir, file)))
	}
	return err
}

// wanted lists the files of the modules by a name or an alias, in order.
func wanted(dir, name string) ([]string, error) {
	index, err := modules.Read(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("modprobe: %w", err)
	}
	var files []string
	for _, name := range append(index.Match(name), name) {
		more, err := index.Order(name)
		if err != nil && !errors.Is(err, modules.ErrUnknown) {
			return nil, fmt.Errorf("modprobe: %w", err)
		}
		files = append(files, more...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("modprobe: %.80q: %w", name, modules.ErrUnknown)
	}
	return files, nil
}

// insert loads one file. That it is in already is no error.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("modprobe: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("modprobe: %s: %w", file, err)
	}
	return nil
}
