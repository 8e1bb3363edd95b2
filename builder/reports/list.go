package reports

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/strictjson"
)

// maxStored bounds a file: a report with what the server adds.
const maxStored = report.MaxSize + 1<<10

// Machine is what one machine said last.
type Machine struct {
	ID       string    `json:"machine"`
	Received time.Time `json:"received"`
	From     string    `json:"from"`
	// Boots is how many of its boots are kept.
	Boots  int           `json:"boots"`
	Report report.Report `json:"report"`
}

// List returns the machines with reports in dir, the one heard of last first, and
// an error for each file that is no report. A folder that cannot be read is the
// only error that leaves nothing.
func List(dir string) ([]Machine, []error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, []error{fmt.Errorf("reports: %w", err)}
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, []error{fmt.Errorf("reports: %w", err)}
	}
	var all []Machine
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || strings.Trim(e.Name(), "0123456789abcdefghijklmnopqrstuvwxyz-") != "" {
			continue
		}
		m, bad := last(root, e.Name())
		errs = append(errs, bad...)
		if m.ID != "" {
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b Machine) int { return b.Received.Compare(a.Received) })
	return all, errs
}

// last returns the latest report of one machine. One that is damaged gives way to
// the one before; where none is good the ID is empty.
func last(root *os.Root, id string) (Machine, []error) {
	dir, err := root.OpenRoot(id)
	if err != nil {
		return Machine{}, []error{err}
	}
	defer dir.Close()
	files, err := newest(dir.FS())
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	for _, f := range files {
		m, err := read(dir, f.Name())
		if err == nil && m.ID != id {
			err = errors.New("a report of another machine")
		}
		if err == nil {
			m.Boots = len(files)
			return m, errs
		}
		errs = append(errs, fmt.Errorf("%q: %w", id+"/"+f.Name(), err))
	}
	return Machine{}, errs
}

// read reads one file, which may have changed since it was stored.
func read(dir *os.Root, name string) (Machine, error) {
	f, err := dir.Open(name)
	if err != nil {
		return Machine{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxStored+1))
	if err != nil {
		return Machine{}, err
	}
	var s Stored
	if err := strictjson.Decode(data, maxStored, &s); err != nil {
		return Machine{}, err
	}
	r, err := report.Decode(s.Report)
	if err != nil {
		return Machine{}, err
	}
	from := "unknown"
	if addr, err := netip.ParseAddr(s.From); err == nil {
		from = addr.WithZone("").String()
	}
	return Machine{ID: r.Machine.ID(), Received: s.Received, From: from, Report: r}, nil
}

// isReport tells whether a name is one that this package gives.
func isReport(name string) bool {
	boot, ok := strings.CutSuffix(name, suffix)
	return ok && strings.Trim(boot, "0123456789abcdef-") == ""
}
