// Package handover gives the machine to the next kernel.
//
// The calls, in order: fill a [Memory] each for kernel and initrds with verified
// bytes, seal them, [LoadTwice] or [LoadXenTwice], [Quiesce], [Execute]. The package promises that
// the kernel syscall reads from the very memory that was verified, and that it
// was sealed before: [Load] and [LoadXen] refuse any other. Linux kernels go by
// kexec_file_load(2), which checks signatures under Secure Boot. kexec_load(2)
// does not. It is called by [LoadXen] alone, whose hypervisor is no Linux kernel,
// and not where the running kernel is in lockdown, which would forbid it anyway.
// Nothing before the jump takes longer than 10 s a step, even on a dying disk.
// Where no kernel is to be loaded there are [BootNext], [Reboot] and [PowerOff].
//
// It does not verify bytes: whoever fills the memory does.
package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRefused is wrapped by the errors of [Load] and [Execute]: this kernel did
// not take the next one.
var ErrRefused = errors.New("kexec refused")

// lockdownFile, below /sys, shows the kernel's lockdown mode in brackets:
// "none [integrity] confidentiality". It needs securityfs (security/lockdown).
const lockdownFile = "kernel/security/lockdown"

// Kernel is what is loaded. All of it was verified before.
type Kernel struct {
	Image   *Memory
	Initrd  *Memory // nil where the entry has none
	Cmdline string
}

// Size returns the bytes of kernel and initrds.
func (k Kernel) Size() int64 {
	if k.Initrd == nil {
		return k.Image.Size()
	}
	return k.Image.Size() + k.Initrd.Size()
}

// Close gives the memory back. What was loaded stays loaded: the kernel has made
// its own copy.
func (k Kernel) Close() {
	for _, m := range []*Memory{k.Image, k.Initrd} {
		if m != nil {
			m.Close()
		}
	}
}

// Load hands the kernel to kexec_file_load(2). It does not start it. The sysfs
// file tree serves to explain a refusal.
func Load(k Kernel, sysfs fs.FS) error {
	flags, initrd := unix.KEXEC_FILE_NO_INITRAMFS, -1
	if !k.Image.sealed() || k.Initrd != nil && !k.Initrd.sealed() {
		return fmt.Errorf("%w: the memory is not sealed", ErrRefused)
	}
	if k.Initrd != nil {
		flags, initrd = 0, int(k.Initrd.f.Fd())
	}
	err := unix.KexecFileLoad(int(k.Image.f.Fd()), initrd, k.Cmdline, flags)
	runtime.KeepAlive(k.Image.f)
	runtime.KeepAlive(k.Initrd)
	if err != nil {
		return explain(err, Locked(sysfs))
	}
	return nil
}

// secondLoad is how long after a failed load the second begins: memory that was
// just given back, and drivers at work, have settled by then.
const secondLoad = time.Second

// LoadTwice is [Load], and once more after a second if that failed for a reason
// that may pass. Memory may just have been short; and users of other agents saw
// the second load succeed (ZFSBootMenu, pull request 804). The first failure is
// told to log.
func LoadTwice(k Kernel, sysfs fs.FS, log func(format string, args ...any)) error {
	return twice(func() error { return Load(k, sysfs) }, log)
}

// twice calls load, and again if its error may pass.
func twice(load func() error, log func(format string, args ...any)) error {
	err := load()
	if err == nil || !passing(err) {
		return err
	}
	log("load: %v; once more in %.0f s", err, secondLoad.Seconds())
	time.Sleep(secondLoad)
	return load()
}

// passing tells whether an error of kexec_file_load(2) may be none in a second.
func passing(err error) bool {
	var code unix.Errno // none where the memory was not sealed
	return errors.As(err, &code) && !isSignature(err) && code != unix.ENOEXEC && code != unix.ENOSYS
}

// Execute starts the loaded kernel. It returns only if that failed. Network
// cards should be down by then: what they still write goes to memory that
// belongs to the next kernel.
func Execute() error {
	sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC); err != nil {
		return fmt.Errorf("%w: the loaded kernel did not start: %w", ErrRefused, err)
	}
	return nil
}

// Locked tells whether the kernel is in lockdown, as it is under Secure Boot: it
// starts only kernels that are signed by a key it trusts.
func Locked(sysfs fs.FS) bool {
	mode, err := fs.ReadFile(sysfs, lockdownFile)
	return err == nil && strings.Contains(string(mode), "[") && !strings.Contains(string(mode), "[none]")
}

// explain says in words what an error of kexec_file_load(2) means. The codes are
// those of kernel/kexec_file.c, arch/x86/kernel/kexec-bzimage64.c and
// crypto/asymmetric_keys/verify_pefile.c in Linux 6.1.
func explain(err error, locked bool) error {
	why := "the kernel cannot be loaded"
	switch {
	case locked && isSignature(err):
		why = "the kernel is not signed by a key this machine trusts (Secure Boot is on)"
	case isSignature(err):
		why = "the kernel's signature is refused"
	case errors.Is(err, unix.ENOEXEC):
		why = "the file is no kernel that kexec can start"
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EADDRNOTAVAIL):
		why = "not enough memory for kernel and initrd"
	case errors.Is(err, unix.EINVAL) && locked:
		why = "the kernel's signature is damaged, or it does not take this command line (Secure Boot is on)"
	case errors.Is(err, unix.EINVAL):
		why = "the kernel does not take this command line, or is of another kind"
	case errors.Is(err, unix.ENOSYS):
		why = "the running kernel was built without kexec_file_load"
	}
	return fmt.Errorf("%w: %s: %w", ErrRefused, why, err)
}

// isSignature tells whether err is one that signature checks end in.
func isSignature(err error) bool {
	for _, code := range []error{unix.EPERM, unix.EKEYREJECTED, unix.ENOKEY, unix.ENODATA, unix.EBADMSG, unix.ELIBBAD, unix.ENOPKG} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
