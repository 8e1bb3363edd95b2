package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/builder/vm/diskfile"
)

// Open opens a disk: an image file, a block device, or "ssh://[USER@]HOST[:PORT]/dev/NAME"
// on another machine. It ends with ctx. A disk that is in use is refused, with an error
// that wraps [ErrUsed] or diskfile.ErrBusy.
func Open(ctx context.Context, name string) (*Disk, error) {
	if strings.HasPrefix(name, "ssh://") {
		return openSSH(ctx, name)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeDevice == 0 {
		return openFile(ctx, name)
	}
	// Exclusive is what a mounted file system has its device as, and the whole disk.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s: %w: it is mounted, or a part of something that is", name, ErrUsed)
	}
	if err != nil {
		return nil, err
	}
	sector, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err == nil {
		var size int64
		if size, err = f.Seek(0, io.SeekEnd); err == nil {
			return local(ctx, f, size, sector), nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("%s: no disk: %w", name, err)
}

// openFile opens an image.
func openFile(ctx context.Context, name string) (*Disk, error) {
	f, err := diskfile.OpenLocked(name, os.O_RDONLY, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	format, err := diskfile.Format(f)
	if err == nil && format != "raw" {
		err = fmt.Errorf("%w: it is %s; qemu-img convert -O raw makes a raw one of it", diskfile.ErrFormat, format)
	}
	var size int64
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return local(ctx, f, size, 512), nil
}

// local returns a disk that is a file of this computer.
func local(ctx context.Context, f *os.File, size int64, sector int) *Disk {
	stream := func(extents []extent) io.Reader {
		var all []io.Reader
		for _, e := range extents {
			all = append(all, io.NewSectionReader(f, e.start, e.end-e.start))
		}
		return interruptible{ctx, io.MultiReader(all...)}
	}
	return &Disk{Name: f.Name(), Size: size, Sector: sector, stream: stream, close: f.Close}
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p)
}

// remote is what the other machine runs: any shell, dd, cat, grep and readlink will do, as
// in a rescue's toolbox. It says the disk's size and sector, and then reads what it is told
// to: size of a block, blocks to pass over, blocks to read.
const remote = `set -eu
disk=%s
test -b "$disk" || { echo "$disk is no block device there" >&2; exit 1; }
real=$(readlink -f "$disk"); name=${real##*/}; dir=/sys/class/block/$name
! grep -q "^$real" /proc/mounts /proc/swaps || { echo "$disk is mounted there, or swap" >&2; exit 1; }
for h in "$dir"/holders/* "$dir"/"$name"*/holders/*; do
	test ! -e "$h" || { echo "$disk is in use there, by ${h##*/}" >&2; exit 1; }
done
echo "$(cat "$dir/size") $(cat "$dir/queue/logical_block_size" 2>/dev/null || echo 512)"
while read -r bs skip count; do dd if="$real" bs="$bs" skip="$skip" count="$count" status=none; done
`

// openSSH opens a disk of another machine, by the user's own ssh.
func openSSH(ctx context.Context, name string) (*Disk, error) {
	u, err := url.Parse(name)
	if err != nil || !strings.HasPrefix(u.Path, "/dev/") || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q: want ssh://USER@HOST/dev/NAME", name)
	}
	host := url.URL{Scheme: "ssh", User: u.User, Host: u.Host}
	quoted := "'" + strings.ReplaceAll(u.Path, "'", `'\''`) + "'"
	cmd := exec.CommandContext(ctx, "ssh", "-T", "--", host.String(), fmt.Sprintf(remote, quoted))
	return open(ctx, name, cmd)
}

// open starts a command that serves a disk as remote does.
func open(ctx context.Context, name string, cmd *exec.Cmd) (*Disk, error) {
	var said tail
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w: install the Debian package openssh-client", name, err)
	}
	d := &Disk{Name: name}
	from := bufio.NewReaderSize(out, 1<<20)
	d.stream = func(extents []extent) io.Reader {
		go func() {
			w := bufio.NewWriter(in)
			for _, e := range extents {
				order(w, e)
			}
			_ = w.Flush() // whoever reads the answers finds that it ended
		}()
		return from
	}
	d.close = func() error {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w: %s", name, err, said.String())
		}
		return context.Cause(ctx)
	}
	var sectors int64
	line, err := from.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, "%d %d\n", &sectors, &d.Sector)
	}
	if d.Size = sectors * 512; err != nil || sectors <= 0 || sectors > 1<<44 {
		return nil, errors.Join(fmt.Errorf("%s: it does not say how large it is", name), d.close())
	}
	return d, nil
}

// most is how much one dd reads, in bytes: beside that its start costs nothing.
const most = 64 << 20

// order asks for an extent, in the largest blocks that fit.
func order(w io.Writer, e extent) {
	for e.start < e.end {
		n := min(e.end-e.start, most)
		shift := min(bits.TrailingZeros64(uint64(e.start|n)), 20) // 1 MiB
		fmt.Fprintf(w, "%d %d %d\n", int64(1)<<shift, e.start>>shift, n>>shift)
		e.start += n
	}
}

// tail keeps the last of what was written to it.
type tail struct{ text []byte }

// maxTail is how much that is, in bytes.
const maxTail = 1000

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(len(t.text)-maxTail, 0):]
	return len(p), nil
}

// String returns it without what a terminal would obey.
func (t *tail) String() string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.TrimSpace(string(t.text)))
}
