// Package reports keeps what machines report of their boots, for their owner.
//
// [New] makes a [Store] of a folder and [Store.Handler] puts it in front of a
// web server; [List] tells for each machine what it said last. The folder has
// one folder for each machine, named as per-machine documents are, and in it a
// file for each of its latest boots.
//
// Anybody may send a report and nobody signs one: what is stored is the claim
// of whoever sent it. The package promises that this does no harm. Files are
// written only below the folder, under names made of lower-case letters, digits
// and '-'; number, size and rate are bounded by [Limits]; and all that List
// returns is printable ASCII. It never serves what it stored: who may read the
// folder, its owner alone, may read the reports.
package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/report"
)

// Limits bounds what strangers may store.
type Limits struct {
	// Boots is how many boots of one machine are kept, the latest ones. At 64
	// KiB each that is 1.3 MB a machine at worst, and 50 kB as a rule.
	Boots int
	// Machines is how many machines there may be. With more, new ones are
	// refused and known ones go on: whoever invents machines cannot push out
	// what is there. 10,000 take 500 MB as a rule, 13 GB at worst.
	Machines int
	// PerAddress and InAll bound the reports in one Window from one address (of
	// IPv6, one /64) and from all. A hall of 500 machines behind one address may
	// come back from a power cut at the same time, each with a report for every
	// round that fails: about five in the first minute.
	PerAddress, InAll int
	Window            time.Duration
}

// DefaultLimits returns the limits that "farboot serve" uses.
func DefaultLimits() Limits {
	return Limits{Boots: 20, Machines: 10_000, PerAddress: 3000, InAll: 10_000, Window: time.Minute}
}

// errFull says that there is no room for one more machine.
var errFull = errors.New("no room for another machine")

// suffix ends the name of a stored report. What is still being written ends
// otherwise.
const suffix = ".json"

// Stored is the content of one file.
type Stored struct {
	Received time.Time `json:"received"` // by the server's clock
	From     string    `json:"from"`     // the sender's IP address
	// Report is as [report.Decode] wants it.
	Report json.RawMessage `json:"report"`
}

// Store is a folder of reports.
type Store struct {
	dir    string
	limits Limits
	now    func() time.Time

	writing sync.Mutex // held while files are written
	gate    gate
}

// New returns a Store in the folder dir, which it makes where it is not there.
func New(dir string, limits Limits) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	return &Store{dir: dir, limits: limits, now: time.Now, gate: gate{limits: limits}}, nil
}

// put stores one report, in the place of an earlier one of the same boot.
func (s *Store) put(r report.Report, data []byte, from string) error {
	var stored bytes.Buffer
	enc := json.NewEncoder(&stored)
	enc.SetEscapeHTML(false) // so that it does not grow
	if err := enc.Encode(Stored{Received: s.now().UTC(), From: from, Report: data}); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	machine, err := s.machine(root, r.Machine.ID())
	if err != nil {
		return err
	}
	defer machine.Close()
	if err := write(machine, r.Boot+suffix, stored.Bytes()); err != nil {
		return err
	}
	return prune(machine, s.limits.Boots)
}

// machine opens a machine's folder, and makes it if there is room for one more.
func (s *Store) machine(root *os.Root, id string) (*os.Root, error) {
	machine, err := root.OpenRoot(id)
	if !errors.Is(err, fs.ErrNotExist) {
		return machine, err
	}
	all, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	if len(all) >= s.limits.Machines {
		return nil, fmt.Errorf("%w: there are %d", errFull, len(all))
	}
	if err := root.Mkdir(id, 0o700); err != nil {
		return nil, err
	}
	return root.OpenRoot(id)
}

// write replaces a file at once, or not at all. Only one is written at a time,
// so that what a crash left behind is written over.
func write(dir *os.Root, name string, data []byte) error {
	const half = "half-written"
	f, err := dir.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return dir.Rename(half, name)
}

// prune removes all but the newest reports of a machine.
func prune(dir *os.Root, keep int) error {
	files, err := newest(dir.FS())
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files[min(keep, len(files)):] {
		errs = append(errs, dir.Remove(f.Name()))
	}
	return errors.Join(errs...)
}

// newest lists a machine's reports, the latest first.
func newest(dir fs.FS) ([]fs.FileInfo, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && isReport(e.Name()) {
			files = append(files, info)
		}
	}
	slices.SortStableFunc(files, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	return files, nil
}
