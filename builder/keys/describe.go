package keys

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/authkey"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/strictjson"
	"github.com/farboot/farboot/payload/trust"
)

// describe says what data is: nothing else is ever signed. If p is empty the
// data decides its purpose. The set may be nil; then nobody knows what was
// before. The request's File is a bare name.
func (s *Set) describe(p trust.Purpose, data []byte) (Request, error) {
	var st trust.Statement
	err := decodeStatement(data, &st)
	if err == nil && p != trust.PurposeManifest {
		return s.describeStatement(st, data)
	}
	var m manifest.Manifest
	err2 := decodeManifest(data, &m)
	if err2 == nil && p != trust.PurposeStatement {
		return s.describeManifest(m, data)
	}
	if p == trust.PurposeStatement || p == "" && strings.Contains(string(data), `"roles"`) {
		return Request{}, fmt.Errorf("is no trust statement: %w", err)
	}
	return Request{}, fmt.Errorf("is neither a trust statement nor a manifest: %w", err2)
}

// decodeStatement reads a statement that nobody has to have signed yet. Its
// bytes must be the one way to write it, so that what is shown is what counts.
func decodeStatement(data []byte, st *trust.Statement) error {
	if err := strictjson.Decode(data, trust.MaxStatementSize, st); err != nil {
		return err
	}
	same, err := trust.EncodeStatement(*st)
	if err == nil && string(same) != string(data) {
		err = errors.New("is not written as farboot writes it")
	}
	return err
}

// decodeManifest reads a manifest that nobody has to have signed yet.
func decodeManifest(data []byte, m *manifest.Manifest) error {
	if err := strictjson.Decode(data, manifest.MaxSize, m); err != nil {
		return err
	}
	return m.Validate()
}

// describeStatement says what a statement changes. With a set it must be the
// one that comes next.
func (s *Set) describeStatement(st trust.Statement, data []byte) (Request, error) {
	r := Request{File: statementRequest(st.Version), Purpose: trust.PurposeStatement, data: data, product: st.Product, revoked: st.Revoked}
	var prev trust.Statement
	if s != nil {
		prev = s.Store.Statement()
		if st.Product != prev.Product || st.Version != prev.Version+1 {
			return Request{}, fmt.Errorf("is trust statement %d of %q; the next one here is %d of %q",
				st.Version, st.Product, prev.Version+1, prev.Product)
		}
		r.ballot = newBallot(prev, st)
		r.Able = r.able
		r.keys = slices.Concat(st.Keys, prev.Keys)
	}
	r.Summary = append([]string{fmt.Sprintf("trust statement %d of %q, issued %s, expires %s",
		st.Version, st.Product, day(st.Issued), day(st.Expires))}, differences(prev, st)...)
	return r, nil
}

// describeManifest says what a manifest offers. With a set it must be for its
// product and epoch.
func (s *Set) describeManifest(m manifest.Manifest, data []byte) (Request, error) {
	r := Request{File: manifestRequest(m), Purpose: trust.PurposeManifest, data: data, product: m.Product}
	kind := "manifest"
	if m.Document != "" {
		kind = fmt.Sprintf("document %q, manifest", m.Document)
	}
	r.Summary = []string{
		fmt.Sprintf("%s version %d of epoch %d for %q, %s, channel %q", kind, m.Version, m.Epoch, m.Product, m.Arch, m.Channel),
		fmt.Sprintf("issued %s, expires %s", day(m.Issued), day(m.Expires)),
	}
	for _, name := range slices.Sorted(maps.Keys(m.Entries)) {
		e := m.Entries[name]
		r.Summary = append(r.Summary, fmt.Sprintf("entry %s: %s%s", name, printable(e.Title), describeEntry(e)))
		if e.Rescue != nil {
			r.Summary = append(r.Summary, describeKeys(name, e.Rescue.Keys)...)
		}
	}
	r.Summary = append(r.Summary, fmt.Sprintf("%d machines have entries of their own; all others boot: %s", len(m.Machines), strings.Join(m.Default, ", ")))
	if s == nil {
		return r, nil
	}
	st := s.Store.Statement()
	if m.Product != st.Product || m.Epoch != st.Epoch {
		return Request{}, fmt.Errorf("is a manifest for %q and epoch %d; the keys are for %q and epoch %d", m.Product, m.Epoch, st.Product, st.Epoch)
	}
	published, err := LoadPublished(s.Dir)
	if err != nil {
		return Request{}, err
	}
	if last, ok := published.Find(m.Arch, m.Channel); ok {
		r.Summary = append(r.Summary, fmt.Sprintf("published before: version %d of epoch %d, issued %s", last.Version, last.Epoch, day(last.Issued)))
	}
	r.ballot, err = ballotFor(st, r.Purpose)
	r.Able, r.keys, r.revoked = r.able, st.Keys, st.Revoked
	return r, err
}

// describeEntry says what an entry does to a machine.
func describeEntry(e manifest.Entry) string {
	switch {
	case e.Linux != nil:
		return fmt.Sprintf("; kernel %s, %d initrds, command line %s", e.Linux.Kernel.SHA256, len(e.Linux.Initrd), printable(e.Linux.Cmdline))
	case e.Xen != nil:
		x := e.Xen
		return fmt.Sprintf("; hypervisor %s, options %s, kernel %s, %d initrds, %d modules, command line %s",
			x.Hypervisor.SHA256, printable(x.Options), x.Kernel.SHA256, len(x.Initrd), len(x.Modules), printable(x.Cmdline))
	case e.Script != nil:
		return fmt.Sprintf("; runs %s with arguments %s, then %s", e.Script.Program.SHA256, printable(strings.Join(e.Script.Args, " ")), e.Then())
	case e.Rescue != nil:
		return fmt.Sprintf("; lets %d keys in by SSH, port %d, then %s", len(e.Rescue.Keys), e.Rescue.ListenPort(), e.Then())
	case e.Flash != nil:
		d := e.Flash.Disk
		return fmt.Sprintf("; OVERWRITES a disk (serial %s, id %s, %d to %d bytes, pick %s) with %s and %d files, then %s",
			printable(d.Serial), printable(d.ID), d.MinSize, d.MaxSize, printable(d.Pick), e.Flash.Image.SHA256, len(e.Flash.Files), e.Then())
	}
	return "; " + e.Kind()
}

// describeKeys says who may log in, a line each.
func describeKeys(entry string, lines []string) []string {
	var list []string
	for _, line := range lines {
		text := "no key"
		if key, err := authkey.Parse(line); err == nil {
			text = key.Fingerprint() + " " + printable(key.Comment)
		}
		list = append(list, fmt.Sprintf("entry %s: may log in: %s", entry, text))
	}
	return list
}

// differences says what next changes from prev, dates aside, a line each. From
// the zero statement all is new.
func differences(prev, next trust.Statement) []string {
	var list []string
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, role := range []Role{RoleRoot, RoleManifest} {
		old, now := roleOf(prev, role), roleOf(next, role)
		for _, fpr := range now.Keys {
			if !slices.Contains(old.Keys, fpr) {
				say("role %s: key %s comes, %s", role, fpr, printable(nameOf(next, fpr)))
			}
		}
		for _, fpr := range old.Keys {
			if !slices.Contains(now.Keys, fpr) {
				say("role %s: key %s leaves, %s", role, fpr, printable(nameOf(prev, fpr)))
			}
		}
		if old.Threshold != now.Threshold {
			say("role %s: %d of %d keys must sign, before it was %d of %d", role, now.Threshold, len(now.Keys), old.Threshold, len(old.Keys))
		}
	}
	for _, k := range next.Keys {
		i := slices.IndexFunc(prev.Keys, func(p trust.Key) bool { return p.Fingerprint == k.Fingerprint })
		if i >= 0 && string(prev.Keys[i].Key) != string(k.Key) {
			say("key %s changes beside its numbers: dates, names, subkeys", k.Fingerprint)
		}
	}
	for _, k := range next.Revoked.Keys {
		if !slices.Contains(prev.Revoked.Keys, k) {
			say("key %s is revoked: %s", k.Fingerprint, k.Reason)
		}
	}
	for _, o := range next.Revoked.Objects {
		if !slices.Contains(prev.Revoked.Objects, o) {
			say("object %s is revoked: %s", o.SHA256, o.Reason)
		}
	}
	if prev.Epoch != next.Epoch {
		say("epoch %d, before it was %d: versions of manifests count anew", next.Epoch, prev.Epoch)
	}
	return list
}

// roleOf returns a role of a statement.
func roleOf(st trust.Statement, role Role) trust.Role {
	if role == RoleRoot {
		return st.Roles.Root
	}
	return st.Roles.Manifest
}

// nameOf returns what a key of a statement calls itself.
func nameOf(st trust.Statement, fpr trust.Fingerprint) string {
	for _, k := range st.Keys {
		if k.Fingerprint == fpr {
			return userID(k)
		}
	}
	return ""
}

// statementRequest and manifestRequest are what requests are called.
func statementRequest(version int64) string { return fmt.Sprintf("trust-%d.json", version) }

func manifestRequest(m manifest.Manifest) string {
	name := "manifest"
	if m.Document != "" {
		name = m.Document
	}
	return fmt.Sprintf("%s-%s-%s-%d.%d.json", name, m.Arch, m.Channel, m.Epoch, m.Version)
}

// isManifestRequest is 0 for what is called like a statement, and 1 otherwise.
func isManifestRequest(file string) int {
	if strings.HasPrefix(filepath.Base(file), "trust-") {
		return 0
	}
	return 1
}

// readRequestFile reads a file of the larger kind.
func readRequestFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > manifest.MaxSize {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", name, info.Size(), manifest.MaxSize)
	}
	return os.ReadFile(name)
}

// printable quotes a name that others chose.
func printable(s string) string { return fmt.Sprintf("%+q", s) }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
