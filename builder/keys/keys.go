// Package keys holds the operator's side of trust: it makes the keys, keeps
// their secret parts away from everything that is committed or packed, reads
// the folder with the public parts, signs, and makes each next trust statement.
//
// The folder, "keys" in a project, is plain data:
//
//	root-<FPR>.asc      a public key that signs trust statements
//	manifest-<FPR>.asc  a public key that signs boot manifests
//	trust/<N>.json      the trust statements from 1 on, each with its .json.sig
//	pending/            what waits for signatures of other people
//	published.json      what was published: the newest manifest of each channel
//
// The secret parts lie as <FPR>.pgp in a folder of the user's own, mode 0700,
// each file 0600; gpg imports them. They are never written into the project or
// into a git work tree. Keys may also live in gpg, on a smartcard for example;
// then gpg signs, and this package sees no secret.
//
// The main calls are [Init], [Load], [Begin] and [Set.Apply] with its changes, [Set.SignWith],
// and [ReadRequest], [SignRequest] and [Collect] for signatures of several
// people. Nothing is written that a machine in the field would refuse, and a
// run that is interrupted leaves the keys that were in force in force. A folder
// that does not hold exactly the keys of its newest statement, whose chain has
// a flaw, or that holds a secret key, is refused as a whole: an incomplete
// keyring looks like a complete one until the day it is needed.
//
// Keys made here carry no expiry date. They end by a next statement without
// them, or by revocation; a machine that boots has no clock to judge a date
// with.
//
// The package publishes nothing: a statement is in force for machines once it
// lies on their site.
package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/payload/trust"
)

// Errors that callers turn into hints.
var (
	// ErrMissing: there is no trust statement; "farboot keys init" makes one.
	ErrMissing = errors.New("no keys")
	// ErrExists: there are keys already.
	ErrExists = errors.New("keys exist")
	// ErrEmptyPassphrase: keys are to be protected, by nothing.
	ErrEmptyPassphrase = errors.New("the passphrase is empty")
)

const (
	// trustDir is the folder of statements, in the keys folder and on a site.
	trustDir = "trust"
	// maxFile bounds every file that is read, in bytes.
	maxFile = trust.MaxStatementSize
)

// Set is what a keys folder holds.
type Set struct {
	Dir string
	// Store believes the newest statement.
	Store *trust.Store
	// Chain holds all statements, from version 1.
	Chain []Document
	// Unfinished means that an earlier run was interrupted. The chain is whole;
	// the files of public keys may be those of two statements. The next
	// ceremony tidies up.
	Unfinished bool

	// stores believe the statements of Chain, one each.
	stores []*trust.Store
}

// Document is a trust statement with its signatures, as both are published.
type Document struct {
	Version   int64
	Statement []byte
	Signature []byte
}

// Path is where a site keeps the statement, relative to its root; ".sig" is
// added for the signatures.
func (d Document) Path() string { return fmt.Sprintf("%s/%d.json", trustDir, d.Version) }

// Newest returns the statement that media and manifests are made with.
func (s *Set) Newest() Document { return s.Chain[len(s.Chain)-1] }

// Load reads the keys folder at dir. Each statement must follow from the one
// before, as machines in the field demand, each key of the newest must lie in
// one file of its own, and no file may hold a secret key.
func Load(dir string) (*Set, error) {
	if err := scan(dir); err != nil {
		return nil, err
	}
	s := &Set{Dir: dir, Unfinished: exists(filepath.Join(dir, unfinished))}
	for {
		doc, err := readDocument(dir, int64(len(s.Chain))+1)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := s.extend(doc); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, doc.Path()), err)
		}
	}
	if len(s.Chain) == 0 {
		return nil, fmt.Errorf("%w: there is no %s", ErrMissing, filepath.Join(dir, trustDir, "1.json"))
	}
	if err := s.checkTrustDir(); err != nil {
		return nil, err
	}
	if err := s.checkPublic(); err != nil {
		return nil, err
	}
	return s, nil
}

// extend appends a statement if it follows from the newest.
func (s *Set) extend(doc Document) error {
	advance := trust.Anchor
	if s.Store != nil {
		advance = s.Store.Advance
	}
	store, err := advance(doc.Statement, doc.Signature)
	if err != nil {
		return err
	}
	if v := store.Statement().Version; v != doc.Version {
		return fmt.Errorf("holds version %d", v)
	}
	s.Chain, s.stores, s.Store = append(s.Chain, doc), append(s.stores, store), store
	return nil
}

// checkTrustDir refuses a folder of statements that holds more than the chain.
// Were statement 2 to vanish, 3 would show it.
func (s *Set) checkTrustDir() error {
	known := map[string]bool{}
	for _, doc := range s.Chain {
		known[filepath.Base(doc.Path())], known[filepath.Base(doc.Path())+".sig"] = true, true
	}
	// Signatures come before their statement.
	next := Document{Version: s.Newest().Version + 1}
	known[filepath.Base(next.Path())+".sig"] = s.Unfinished
	entries, err := os.ReadDir(filepath.Join(s.Dir, trustDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if v, err := strconv.ParseInt(strings.TrimSuffix(e.Name(), ".json"), 10, 64); err == nil && v > next.Version {
			return fmt.Errorf("%s is missing, but %s is there; all statements from 1 on are kept",
				filepath.Join(s.Dir, next.Path()), filepath.Join(s.Dir, trustDir, e.Name()))
		}
		if !known[e.Name()] {
			return fmt.Errorf("%s: is no part of the chain, which has statements 1 to %d",
				filepath.Join(s.Dir, trustDir, e.Name()), s.Newest().Version)
		}
	}
	return nil
}

// readDocument reads statement n and its signatures. That the statement is
// missing is fs.ErrNotExist; that the signatures are is not.
func readDocument(dir string, n int64) (Document, error) {
	doc := Document{Version: n}
	name := filepath.Join(dir, doc.Path())
	var err error
	if doc.Statement, err = readFile(name); err != nil {
		return Document{}, err
	}
	if doc.Signature, err = readFile(name + ".sig"); err != nil {
		return Document{}, fmt.Errorf("%s is not signed: %w", name, errors.New(err.Error()))
	}
	return doc, nil
}

// scan refuses a folder that holds a secret key or a link that leads elsewhere.
func scan(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no folder %s", ErrMissing, dir)
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(real, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s: neither file nor folder; keys are plain files", name)
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return leak.Scan(name, f)
	})
}

// readFile reads a file that must not be large.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", name, info.Size(), maxFile)
	}
	return os.ReadFile(name)
}
