package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/farboot/farboot/payload/authkey"
	"github.com/farboot/farboot/payload/cast"
	"github.com/farboot/farboot/payload/object"
)

func (x *Script) validate(b Bounds) error {
	if err := checkRef(x.Program, b.Program); err != nil {
		return fmt.Errorf("program: %w", err)
	}
	return cmp.Or(CheckArgs(x.Args), CheckEnv(x.Env), checkToolbox(x.Toolbox), checkSeconds("", x.Seconds, 1, b), CheckThen(x.Then))
}

func (x *Rescue) validate(b Bounds) error {
	if x.HostKey != "" && x.HostKey != HostKeyBoot && x.HostKey != HostKeyMachine {
		return fmt.Errorf("host key %+q: want %q or %q", clip(x.HostKey), HostKeyBoot, HostKeyMachine)
	}
	if x.Port < 0 || x.Port > 65535 {
		return fmt.Errorf("port %d, want 1 to 65535", x.Port)
	}
	keys := CheckKeys(x.Keys)
	if len(x.Keys) == 0 && x.Password != "" {
		keys = nil // at the console only
	}
	return cmp.Or(keys, CheckPassword(x.Password), checkToolbox(x.Toolbox), checkSeconds("idle for ", x.Seconds, b.Idle, b), CheckThen(x.Then))
}

func (x *Flash) validate(b Bounds) error {
	if err := checkRef(x.Image, b.Image); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := checkRef(x.Index, b.Index); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if !slices.Contains(Formats(), x.Format) {
		return fmt.Errorf("format %+q: want one of xz, zst and gz, or none", clip(x.Format))
	}
	if err := x.checkCast(); err != nil {
		return fmt.Errorf("cast: %w", err)
	}
	if len(x.Files) > b.FlashFiles {
		return fmt.Errorf("%d files, at most %d", len(x.Files), b.FlashFiles)
	}
	type place struct {
		partition int
		path      string
	}
	seen := map[place]bool{}
	for _, f := range x.Files {
		if err := CheckFlashFile(f); err != nil {
			return err
		}
		if at := (place{f.Partition, f.Path}); seen[at] {
			return fmt.Errorf("file %q of partition %d stands twice", f.Path, f.Partition)
		} else {
			seen[at] = true
		}
	}
	return cmp.Or(CheckDisk(x.Disk), CheckThen(x.Then))
}

// checkCast tells what is wrong with how an image is cast.
func (x *Flash) checkCast() error {
	if x.Cast == nil {
		return nil
	}
	if x.Format != "zst" {
		return fmt.Errorf("want an image of the format zst, not %+q", x.Format)
	}
	_, err := cast.ParseGroup(x.Cast.Group)
	return cmp.Or(err, checkRef(x.Cast.Table, x.Image.Size))
}

// CheckKeys tells what is wrong with the keys that let people in: there is none,
// or more than 64, or one is not what [authkey.Parse] takes, or stands twice.
func CheckKeys(lines []string) error {
	if most := DefaultBounds().Keys; len(lines) == 0 || len(lines) > most {
		return fmt.Errorf("%d keys, want 1 to %d", len(lines), most)
	}
	seen := map[string]bool{}
	for i, line := range lines {
		key, err := authkey.Parse(line)
		if err == nil && seen[string(key.Blob)] {
			err = errors.New("stands twice")
		}
		if err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
		seen[string(key.Blob)] = true
	}
	return nil
}

// CheckThen tells what is wrong with what is to come after an entry; "" is its
// kind's default.
func CheckThen(then string) error {
	all := []string{"", ThenNext, ThenLocal, ThenReboot, ThenOff, ThenWait}
	if !slices.Contains(all, then) {
		return fmt.Errorf("then %+q: want one of %s", clip(then), strings.Join(all[1:], ", "))
	}
	return nil
}

// CheckArgs tells what is wrong with the arguments of a script: there are more
// than 64, or one is not printable ASCII of at most 4096 bytes.
func CheckArgs(args []string) error {
	b := DefaultBounds()
	if len(args) > b.Words {
		return fmt.Errorf("%d arguments, at most %d", len(args), b.Words)
	}
	for i, arg := range args {
		if err := checkWord(arg, b.Word); err != nil {
			return fmt.Errorf("argument %d, %+q: %w", i+1, clip(arg), err)
		}
	}
	return nil
}

// CheckEnv tells what is wrong with the variables of a script: their names are
// capitals, digits and '_', and none of those that farboot sets (FARBOOT_*) or
// that decide what runs (PATH, LD_*).
func CheckEnv(env Env) error {
	b := DefaultBounds()
	if len(env) > b.Words {
		return fmt.Errorf("%d variables, at most %d", len(env), b.Words)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		switch {
		case name == "" || len(name) > maxName || strings.Trim(name, letters+"0123456789_") != "" || !strings.Contains(letters, name[:1]):
			return fmt.Errorf("variable %+q: want a name of capitals, digits and '_'", clip(name))
		case name == "PATH" || strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "FARBOOT_"):
			return fmt.Errorf("variable %q is not for manifests to set", name)
		}
		if err := checkWord(env[name], b.Word); err != nil {
			return fmt.Errorf("variable %q: %w", name, err)
		}
	}
	return nil
}

// CheckDisk tells what is wrong with the description of a disk. The zero Disk is
// fine: it is the machine's only one.
func CheckDisk(d Disk) error {
	for _, f := range []struct{ what, text string }{{"serial", d.Serial}, {"id", d.ID}} {
		if err := checkText(f.text, maxDisk); err != nil {
			return fmt.Errorf("disk: %s %+q: %w", f.what, clip(f.text), err)
		}
	}
	switch {
	case d.MinSize < 0 || d.MaxSize < 0 || d.MaxSize != 0 && d.MaxSize < d.MinSize:
		return fmt.Errorf("disk: of %d to %d bytes there is none", d.MinSize, d.MaxSize)
	case !slices.Contains([]string{"", PickOnly, PickSmallest, PickLargest}, d.Pick):
		return fmt.Errorf("disk: pick %+q: want %q, %q or %q", clip(d.Pick), PickOnly, PickSmallest, PickLargest)
	}
	return nil
}

// CheckFlashFile tells what is wrong with a file to put into an image.
func CheckFlashFile(f FlashFile) error {
	b := DefaultBounds()
	if err := checkText(f.Path, maxPath); err != nil || !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
		return fmt.Errorf("file %+q: want an absolute path without \"..\", in printable ASCII", clip(f.Path))
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("file %q: "+format, append([]any{f.Path}, args...)...)
	}
	switch {
	case f.Partition < 1 || f.Partition > b.Partition:
		return fail("partition %d, want 1 to %d", f.Partition, b.Partition)
	case f.Mode > 0o777:
		return fail("mode %#o: want permissions only", f.Mode)
	case f.Content != "" && f.Object != nil:
		return fail("content and object exclude each other")
	case f.Expand && f.Object != nil:
		return fail("an object is not expanded")
	case len(f.Content) > b.FlashContent:
		return fail("%d bytes of content, at most %d; what is larger is an object", len(f.Content), b.FlashContent)
	case !utf8.ValidString(f.Content) || strings.Contains(f.Content, "\x00"):
		return fail("its content is not text")
	}
	if f.Object == nil {
		return nil
	}
	if err := checkRef(*f.Object, b.Image); err != nil {
		return fail("%w", err)
	}
	return nil
}

// CheckLimits tells what is wrong with limits; nil is none. That they are
// tighter than the agent's own is not asked for: a later agent may take longer.
func CheckLimits(l *Limits) error {
	if l == nil {
		return nil
	}
	for _, f := range []struct {
		what  string
		value int
	}{
		{"network", l.Network}, {"manifest", l.Manifest}, {"stall", l.Stall}, {"object", l.Object},
		{"attempts", l.Attempts}, {"rounds", l.Rounds}, {"pause", l.Pause},
	} {
		if f.value < 0 || f.value > DefaultBounds().Seconds {
			return fmt.Errorf("limits: %s %d, want 1 to %d", f.what, f.value, DefaultBounds().Seconds)
		}
	}
	return nil
}

// CheckToolbox tells what is wrong with the reference of a toolbox.
func CheckToolbox(ref object.Ref) error {
	if err := checkRef(ref, DefaultBounds().Toolbox); err != nil {
		return fmt.Errorf("toolbox: %w", err)
	}
	return nil
}

// checkToolbox is CheckToolbox of one that need not be.
func checkToolbox(ref *object.Ref) error {
	if ref == nil {
		return nil
	}
	return CheckToolbox(*ref)
}

// checkSeconds checks a time of at least so many seconds; 0 stands for a default.
func checkSeconds(what string, seconds, least int, b Bounds) error {
	if seconds != 0 && (seconds < least || seconds > b.Seconds) {
		return fmt.Errorf("%s%d seconds, want %d to %d", what, seconds, least, b.Seconds)
	}
	return nil
}

// checkWord refuses what is too long or not printable ASCII; blanks are fine.
func checkWord(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%d bytes, at most %d", len(s), most)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("not printable ASCII")
	}
	return nil
}
