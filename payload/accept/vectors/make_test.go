package vectors_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// day0 is when everything begins: keys, statement 1, the medium. It lies in the
// past, for gpgv, which has no other clock than the real one.
var day0 = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// The machine that asks, and another one.
var (
	machine = manifest.Identity{UUID: "4c4c4544-0042-3510-8050-b4c04f4d5931", Serial: "7QX1", MACs: []string{"52:54:00:12:34:56"}}
	other   = manifest.Match{MAC: "52:54:00:12:34:57"}
)

// maker makes the corpus. Its secret keys live as long as the test.
type maker struct {
	t    *testing.T
	base *trusttest.Sim
	gpg  *gpg
	rsa  *trusttest.Key
	made map[string]vectors.Vector
}

// corpus makes all vectors with new keys.
func corpus(t *testing.T) map[string]vectors.Vector {
	t.Helper()
	m := newMaker(t)
	m.gpg = newGPG(t)
	m.rsa = m.newKey("rsa", func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 3072 })
	m.goodSignatures()
	m.badSignatures()
	m.framing()
	m.dates()
	m.thresholds()
	m.chains()
	m.revocations()
	m.contents()
	m.workContents()
	m.versions()
	m.documents()
	m.clocks()
	for name, v := range m.made {
		v.GPGV = askGPGV(t, v)
		m.made[name] = v
	}
	return m.made
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	return &maker{t: t, base: trusttest.NewSim(t, "demo", day0), made: map[string]vectors.Vector{}}
}

// option changes a vector before it is noted.
type option func(*vectors.Vector)

// add notes a vector: the sim's site with a manifest of version 12 and a
// trusted time a day later, read by a medium of statement 1, then changed.
// expect is said by who wrote the vector, never found out by the code under
// test. What is released follows from it: every statement if the chain is good,
// and the manifest if that is.
func (m *maker) add(name, expect, comment string, sim *trusttest.Sim, options ...option) {
	m.t.Helper()
	v := vectors.Vector{
		Name: name, Expect: expect, Comment: comment, Medium: 1, Machine: machine,
		Now:   clock.Time{Now: day0.AddDate(0, 0, 1), Trusted: true},
		Terms: accept.Terms{Product: "demo", Arch: "amd64", Channel: "stable"},
		Files: sim.Files(), Boots: []string{"installer", "rescue"},
	}
	m.put(sim, &v, m.sample(sim, 12))
	last := sim.Statement().Version
	for _, o := range options {
		o(&v)
	}
	for n := int64(1); n < v.Medium; n++ { // nobody reads them
		delete(v.Files, accept.StatementFile(n))
		delete(v.Files, accept.StatementFile(n)+".sig")
	}
	if v.Released == nil {
		v.Released = m.released(v, last)
		if v.Verdict() != vectors.OK {
			v.Boots = nil
		}
	}
	if _, twice := m.made[name]; twice {
		m.t.Fatalf("vector %q is made twice", name)
	}
	m.made[name] = v
}

// released lists what must be handed out of v: statements up to last, the
// manifest if it is good, and nothing of a document.
func (m *maker) released(v vectors.Vector, last int64) (list []vectors.Released) {
	for n := v.Medium + 1; n <= last; n++ {
		list = append(list, file(v, accept.StatementFile(n)))
	}
	if v.Verdict() == vectors.OK {
		list = append(list, file(v, manifest.File))
	}
	return list
}

// file returns what is released of a vector's file.
func file(v vectors.Vector, name string) vectors.Released {
	return vectors.Released{Name: name, SHA256: object.OfBytes(v.Files[name]).SHA256}
}

// releases says by name what is handed out, and what is booted after it.
func releases(boots string, names ...string) option {
	return func(v *vectors.Vector) {
		v.Released, v.Boots = []vectors.Released{}, strings.Fields(boots)
		for _, name := range names {
			v.Released = append(v.Released, file(*v, name))
		}
	}
}

// at is the time, with somebody's word; unsure without.
func at(now time.Time) option {
	return func(v *vectors.Vector) { v.Now = clock.Time{Now: now, Trusted: true} }
}

func unsure(now time.Time) option {
	return func(v *vectors.Vector) { v.Now = clock.Time{Now: now} }
}

// medium is the statement that it carries.
func medium(n int64) option { return func(v *vectors.Vector) { v.Medium = n } }

// then is the manifest's verdict after a broken chain, which has reached the
// given statement.
func then(verdict string, reached int64) option {
	return func(v *vectors.Vector) {
		v.Then = verdict
		var names []string
		for n := v.Medium + 1; n <= reached; n++ {
			names = append(names, accept.StatementFile(n))
		}
		boots := ""
		if verdict == vectors.OK {
			names, boots = append(names, manifest.File), "installer rescue"
		}
		releases(boots, names...)(v)
	}
}

func requireTime(v *vectors.Vector) { v.Terms.RequireTime = true }

func floor(f state.Floor) option { return func(v *vectors.Vector) { v.Terms.Floor = f } }

// set puts a file; nil removes it.
func set(name string, data []byte) option {
	return func(v *vectors.Vector) {
		v.Files = maps.Clone(v.Files)
		v.Files[name] = data
		if data == nil {
			delete(v.Files, name)
		}
	}
}

// signed replaces the manifest's signatures by what sign makes.
func signed(sign func(data []byte) []byte) option {
	return func(v *vectors.Vector) { set(manifest.Signature, sign(v.Files[manifest.File]))(v) }
}

// manifestOf replaces the manifest by one that was changed.
func (m *maker) manifestOf(sim *trusttest.Sim, version int64, change func(*manifest.Manifest)) option {
	return func(v *vectors.Vector) {
		x := m.sample(sim, version)
		if change != nil {
			change(x)
		}
		m.put(sim, v, x)
	}
}

// text replaces text of the manifest and signs the result.
func (m *maker) text(sim *trusttest.Sim, old, new string) option {
	return func(v *vectors.Vector) {
		data := v.Files[manifest.File]
		if !bytes.Contains(data, []byte(old)) {
			m.t.Fatalf("the manifest has no %q", old)
		}
		m.bytes(sim, bytes.Replace(data, []byte(old), []byte(new), 1))(v)
	}
}

// bytes is a manifest that Encode would refuse.
func (m *maker) bytes(sim *trusttest.Sim, data []byte) option {
	return func(v *vectors.Vector) {
		set(manifest.File, data)(v)
		set(manifest.Signature, sim.SignManifest(data))(v)
	}
}

// put puts a manifest or document and its signature.
func (m *maker) put(sim *trusttest.Sim, v *vectors.Vector, x *manifest.Manifest) {
	m.t.Helper()
	data, err := manifest.Encode(x)
	if err != nil {
		m.t.Fatal(err)
	}
	name := manifest.File
	if x.Document != "" {
		name = manifest.DocumentPath(x.Document)
	}
	set(name, data)(v)
	set(name+".sig", sim.SignManifest(data))(v)
}

// sample returns a manifest of the sim's epoch, which runs for a month.
func (m *maker) sample(sim *trusttest.Sim, version int64) *manifest.Manifest {
	installer := &manifest.Linux{
		Kernel: object.OfBytes([]byte("kernel")), Initrd: []object.Ref{object.OfBytes([]byte("initrd"))}, Cmdline: "quiet",
	}
	rescue := &manifest.Linux{Kernel: object.OfBytes([]byte("old kernel"))}
	return &manifest.Manifest{
		Epoch: sim.Statement().Epoch, Version: version, Issued: sim.At, Expires: sim.At.AddDate(0, 1, 0),
		Product: "demo", Arch: "amd64", Channel: "stable",
		Entries: map[string]manifest.Entry{
			"installer": {Title: "Installer", Linux: installer},
			"rescue":    {Title: "Rescue", Linux: rescue},
		},
		Default: []string{"installer", "rescue"},
	}
}

// newKey makes a key at day0, without the subkey for encryption that the library
// adds: nobody needs it, and it takes room.
func (m *maker) newKey(name string, options ...func(*packet.Config)) *trusttest.Key {
	k := trusttest.NewKey(m.t, name, day0, options...)
	k.Entity.Subkeys = nil
	return k
}

// as returns the base's future in which the given keys alone sign manifests, so
// many of them at least. Media begin there: see begins.
func (m *maker) as(threshold int, keys ...*trusttest.Key) *trusttest.Sim {
	m.t.Helper()
	sim := m.base.Fork()
	sim.Issue(func(st *trust.Statement) {
		sim.Drop(st, sim.Manifest)
		for _, k := range keys {
			sim.List(st, trusttest.Manifest, k)
		}
		st.Roles.Manifest.Threshold = threshold
	})
	return sim
}

// addBy is add for a medium of the statement that as made, with the signature
// that sign makes.
func (m *maker) addBy(name, expect, comment string, keys []*trusttest.Key, sign func(data []byte) []byte, options ...option) {
	m.t.Helper()
	sim := m.as(1, keys...)
	m.add(name, expect, comment, sim, slices.Concat([]option{medium(2), signed(sign)}, options)...)
}

// good signs a manifest as it should be.
func (m *maker) good(k *trusttest.Key, options ...func(*packet.Config)) func([]byte) []byte {
	return func(data []byte) []byte { return k.Sign(m.t, trust.PurposeManifest, data, day0, options...) }
}

// raw signs without the library's own objections to key and date.
func (m *maker) raw(key *packet.PrivateKey, made time.Time, options ...func(*packet.Signature)) func([]byte) []byte {
	return func(data []byte) []byte {
		sig := &packet.Signature{
			Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA256,
			CreationTime: made, IssuerKeyId: &key.KeyId,
			Notations: []*packet.Notation{purpose(trust.PurposeManifest)},
		}
		for _, option := range options {
			option(sig)
		}
		h := sig.Hash.New()
		if sig.SigType == packet.SigTypeText {
			data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
		}
		h.Write(data)
		noSalt := false // the library has no salt for SHA-1
		if err := sig.Sign(h, key, &packet.Config{NonDeterministicSignaturesViaNotation: &noSalt}); err != nil {
			m.t.Fatal(err)
		}
		var buf bytes.Buffer
		if err := sig.Serialize(&buf); err != nil {
			m.t.Fatal(err)
		}
		return buf.Bytes()
	}
}

func purpose(p trust.Purpose) *packet.Notation {
	return &packet.Notation{Name: trust.Notation, Value: []byte(p), IsHumanReadable: true}
}

// next returns the sim's files with a next statement that EncodeStatement would
// refuse, signed all the same.
func (m *maker) next(sim *trusttest.Sim, change func(*trust.Statement), signers ...*trusttest.Key) option {
	m.t.Helper()
	st := sim.Statement()
	st.Format, st.Version = trust.Format, st.Version+1
	change(&st)
	data, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		m.t.Fatal(err)
	}
	return m.statement(sim, st.Version, append(data, '\n'), signers...)
}

// statement puts the bytes of a statement, signed by root keys.
func (m *maker) statement(sim *trusttest.Sim, version int64, data []byte, signers ...*trusttest.Key) option {
	if len(signers) == 0 {
		signers = []*trusttest.Key{sim.Root}
	}
	name := accept.StatementFile(version)
	sigs := sim.Sign(trust.PurposeStatement, data, signers...)
	return func(v *vectors.Vector) {
		set(name, data)(v)
		set(name+".sig", sigs)(v)
	}
}

// move puts both files of one name under another.
func move(from, to string) option {
	return func(v *vectors.Vector) {
		data, sigs := v.Files[from], v.Files[from+".sig"]
		set(to, data)(v)
		set(to+".sig", sigs)(v)
	}
}

// revokedKey says that a key was stolen.
func revokedKey(k *trusttest.Key) trust.RevokedKey {
	return trust.RevokedKey{Fingerprint: k.Fingerprint(), Reason: "stolen", Since: day0}
}

// keyed is a comment with a number in it.
func keyed(format string, args ...any) string { return fmt.Sprintf(format, args...) }
