package live

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/script"
)

// consoleDir is where xenconsoled writes what machines print, guest-NAME.log.
const consoleDir = "var/log/xen/console"

const (
	// look is how often the consoles' files are looked at.
	look = 500 * time.Millisecond
	// maxLog is how long one may get, in bytes, before it begins anew: it lies in
	// memory. xenconsoled appends (create_domain_log in its io.c).
	maxLog = 1 << 20
	// maxLogs bounds how many are followed.
	maxLogs = 256
)

// follower reads one machine's console.
type follower struct {
	lines *script.Lines
	read  int64
}

// followConsoles shows what machines print, until ctx ends.
func (s *System) followConsoles(ctx context.Context) error {
	all := map[string]*follower{}
	for {
		names, err := filepath.Glob(filepath.Join(s.Root, consoleDir, "guest-*.log"))
		if err != nil {
			return err
		}
		for _, name := range names {
			if all[name] == nil && len(all) < maxLogs {
				machine := script.Clean(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), "guest-"), ".log"))
				all[name] = &follower{lines: script.NewLines(func(format string, args ...any) {
					s.Log("%s: %s", machine, fmt.Sprintf(format, args...))
				})}
			}
			if f := all[name]; f != nil {
				_ = f.follow(name) // gone, or of another time
			}
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return nil
		}
	}
}

// follow shows what is new in a file, and empties one that is long.
func (f *follower) follow(name string) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < f.read {
		f.read = 0
	}
	n, err := io.Copy(f.lines, io.NewSectionReader(file, f.read, info.Size()-f.read))
	f.read += n
	if err == nil && f.read > maxLog {
		err, f.read = file.Truncate(0), 0
	}
	return err
}
