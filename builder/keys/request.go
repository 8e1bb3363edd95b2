package keys

import (
	"path/filepath"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// PendingDir is the folder, in the keys folder, of what waits for signatures.
const PendingDir = "pending"

// Request is bytes that wait for signatures: File, with what it is in words in
// File+".txt", and signatures in File+"."+fingerprint+".sig".
type Request struct {
	File    string        `json:"file"`
	Purpose trust.Purpose `json:"purpose"`
	// Summary says what the bytes are and what they change, a line each. It
	// comes from the bytes themselves, not from the text beside them.
	Summary []string `json:"summary"`
}

// Pending is the folder of requests of the keys folder.
func (s *Set) Pending() string { return filepath.Join(s.Dir, PendingDir) }

// Request writes data into the folder dir, under a name made from what it is,
// with a text for those who will sign. One that is there is an error if its bytes differ.
func (s *Set) Request(dir string, p trust.Purpose, data []byte) (Request, error) {
	return Request{}, errUnfinished
}

// ReadRequest reads bytes that wait for signatures, for people to look at
// before they sign. They must be a well-formed statement or manifest. With a
// set, which may be nil, the summary tells what changes from its newest statement.
func ReadRequest(s *Set, file string) (Request, error) { return Request{}, errUnfinished }

// SignRequest signs the bytes of a request and writes the signature beside
// them. It returns the name of that file.
func SignRequest(r Request, k SigningKey, now time.Time) (string, error) { return "", errUnfinished }

// Collected tells what became of a request.
type Collected struct {
	Request
	// Signers have signed; Needed counts what is still missing, and any of
	// Missing can do it.
	Signers []trust.Fingerprint `json:"signers"`
	Needed  int                 `json:"needed"`
	Missing []trust.Fingerprint `json:"missing,omitzero"`
	// Refused are files beside the request that do not count, with the reason.
	Refused []string `json:"refused,omitzero"`
	// Done is where the result lies once nothing is needed: a statement in the
	// folder of statements, where it is in force; a manifest's signatures in
	// File+".sig", for publishing.
	Done string `json:"done,omitzero"`
}

// Collect merges the signatures that lie beside requests, and completes those
// that have enough. A path is a request's file or a folder of requests;
// without paths it is [Set.Pending]. After a statement came into force the
// Set is an old one; [Load] reads the new.
func Collect(s *Set, now time.Time, paths ...string) ([]Collected, error) { return nil, errUnfinished }

// Merge joins signature files for data into one that the store accepts for
// purpose p. Signatures that do not count are left out. Too few are an error
// that wraps [trust.ErrUntrusted].
func Merge(store *trust.Store, p trust.Purpose, data []byte, sigs ...[]byte) ([]byte, error) {
	return nil, errUnfinished
}
