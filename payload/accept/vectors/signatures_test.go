package vectors_test

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

const untrusted = "untrusted"

// goodSignatures count, and are held against bad ones.
func (m *maker) goodSignatures() {
	ed, rsa := m.base.Manifest, m.rsa
	second := m.newKey("second")
	m.add("good", vectors.OK, "a site without any defect", m.base)
	m.addBy("signature-rsa3072", vectors.OK, "RSA of 3072 bits is the least that counts", keys(rsa), m.good(rsa))
	m.addBy("signature-sha256", vectors.OK, "SHA-256 counts as SHA-512 does", keys(ed), m.good(ed, func(c *packet.Config) { c.DefaultHash = crypto.SHA256 }))
	m.addBy("signature-by-gpg", vectors.OK, "gpg's signature over binary data", keys(ed), m.gpg.sign(ed, "--detach-sign"))
	m.addBy("signature-purpose-critical", vectors.OK, "the purpose may be marked as critical: this program knows it", keys(rsa),
		m.raw(rsa.Entity.PrivateKey, day0, func(s *packet.Signature) { s.Notations[0].IsCritical = true }))
	m.addBy("signature-foreign-notation", vectors.OK, "a notation that is not critical is nobody's business", keys(rsa),
		m.raw(rsa.Entity.PrivateKey, day0, note("x@example.invalid", "1", false)))
	sub := m.newKey("subkey")
	m.subkey(sub, &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	m.addBy("signature-by-subkey", vectors.OK, "a subkey for signing signs for its primary key", keys(sub), m.good(sub))

	// Order and company of signatures do not matter.
	bad := func(data []byte) []byte { return flipped(m.good(ed)(data)) }
	foreign := m.good(m.newKey("foreign"))
	m.addBy("signatures-corrupt-good", vectors.OK, "the first signature is corrupt, the second good", keys(ed), each(bad, m.good(ed)))
	m.addBy("signatures-good-corrupt", vectors.OK, "the second signature is corrupt, the first good", keys(ed), each(m.good(ed), bad))
	m.addBy("signatures-foreign-good", vectors.OK, "the first signature is by an unknown key", keys(ed), each(foreign, m.good(ed)))
	m.addBy("signatures-sha1-good", vectors.OK, "a weak signature beside a good one by another key", keys(rsa, ed),
		each(m.raw(rsa.Entity.PrivateKey, day0, hash(crypto.SHA1)), m.good(ed)))
	m.addBy("signatures-duplicate", vectors.OK, "the same signature twice is one, and one is needed", keys(ed), twice(m.good(ed)))
	m.addBy("signatures-two-keys", vectors.OK, "two of two keys, where one is needed", keys(ed, second), each(m.good(ed), m.good(second)))
	m.addBy("signatures-just-fit", vectors.OK, "as many signatures as fit into 16 KiB", keys(ed), func(data []byte) []byte {
		sig := m.good(ed)(data)
		return bytes.Repeat(sig, trust.MaxSignatureSize/len(sig))
	})
}

// badSignatures are well formed and do not count.
func (m *maker) badSignatures() {
	ed, rsa := m.base.Manifest, m.rsa
	refuse := func(name, comment string, k *trusttest.Key, sign func([]byte) []byte) {
		m.t.Helper()
		m.addBy("signature-"+name, untrusted, comment, keys(k), sign)
	}
	rawRSA := func(options ...func(*packet.Signature)) func([]byte) []byte {
		return m.raw(rsa.Entity.PrivateKey, day0, options...)
	}
	m.add("signature-missing", untrusted, "there is no signature file", m.base, set(manifest.Signature, nil))
	refuse("of-another-file", "the signature is over other bytes", ed, func([]byte) []byte { return m.good(ed)([]byte("x")) })
	refuse("flipped-bit", "one bit of the signature is wrong", ed, func(data []byte) []byte { return flipped(m.good(ed)(data)) })
	m.add("manifest-flipped-bit", untrusted, "one bit of the manifest is wrong", m.base, func(v *vectors.Vector) {
		data := bytes.Replace(v.Files[manifest.File], []byte(`"version": 12`), []byte(`"version": 13`), 1)
		set(manifest.File, data)(v)
	})
	refuse("by-foreign-key", "the key is not in the statement", ed, m.good(m.newKey("foreign")))
	refuse("by-root", "a root key signs no manifests", ed, m.good(m.base.Root))
	refuse("by-standby", "the standby key signs no manifests", ed, m.good(m.base.Standby))
	for name, h := range map[string]crypto.Hash{"sha1": crypto.SHA1, "sha224": crypto.SHA224, "sha384": crypto.SHA384} {
		refuse(name, "made with "+h.String()+", which is not on the list", rsa, rawRSA(hash(h)))
	}
	refuse("sha1-by-gpg", "made by gpg with SHA-1", rsa, m.gpg.sign(rsa, "--detach-sign", "--digest-algo", "SHA1"))
	for name, t := range map[string]packet.SignatureType{
		"standalone": 0x02, "certification": packet.SigTypeGenericCert, "positive-certification": packet.SigTypePositiveCert,
		"direct-key": packet.SigTypeDirectSignature, "key-revocation": packet.SigTypeKeyRevocation, "timestamp": 0x40,
	} {
		refuse("type-"+name, keyed("type 0x%02x is over no file", uint8(t)), rsa, rawRSA(kind(t)))
	}
	refuse("text-mode", "text mode says nothing about line ends", rsa, rawRSA(kind(packet.SigTypeText)))
	refuse("text-mode-by-gpg", "made by gpg in text mode", ed, m.gpg.sign(ed, "--detach-sign", "--textmode"))
	m.addBy("signature-text-mode-crlf", untrusted, "text mode, and line ends that were changed on the way", keys(ed),
		m.gpg.sign(ed, "--detach-sign", "--textmode"), func(v *vectors.Vector) {
			set(manifest.File, bytes.ReplaceAll(v.Files[manifest.File], []byte("\n"), []byte("\r\n")))(v)
		})
	refuse("critical-notation", "a critical notation that this program does not know", rsa, rawRSA(note("x@example.invalid", "1", true)))
	refuse("purpose-missing", "it could be the signature under an e-mail", rsa, rawRSA(func(s *packet.Signature) { s.Notations = nil }))
	refuse("purpose-statement", "made for a trust statement", ed, func(data []byte) []byte {
		return ed.Sign(m.t, trust.PurposeStatement, data, day0)
	})
	refuse("purpose-two", "made for two purposes", rsa, rawRSA(note(trust.Notation, string(trust.PurposeStatement), false)))
	refuse("purpose-twice", "the purpose stands twice", rsa, rawRSA(note(trust.Notation, string(trust.PurposeManifest), false)))
	refuse("purpose-not-signed", "the purpose stands in the part that is not signed", rsa, func(data []byte) []byte {
		return m.unhashed(rawRSA(func(s *packet.Signature) { s.Notations = nil })(data))
	})
	both := trusttest.NewKey(m.t, "both", day0, func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 3072 })
	refuse("by-encryption-subkey", "the subkey is for encryption", both, m.raw(both.Entity.Subkeys[0].PrivateKey, day0))
	m.weakSubkeys()
	m.certifyOnly()
}

// weakSubkeys: a good primary key does not lend its strength. The subkeys came
// after the statement was signed, so that only the signature tells.
func (m *maker) weakSubkeys() {
	for name, c := range map[string]*packet.Config{
		"rsa1024":  {Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024},
		"rsa2048":  {Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048},
		"nistp256": {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256},
		"ed448":    {Algorithm: packet.PubKeyAlgoEd448},
	} {
		k := m.newKey("weak")
		c.Time = func() time.Time { return day0.Add(time.Hour) }
		m.subkey(k, c)
		m.addBy("signature-subkey-"+name, untrusted, "signed by a subkey of "+name, keys(k),
			m.raw(k.Entity.Subkeys[0].PrivateKey, day0.Add(2*time.Hour), hash(crypto.SHA512)))
	}
}

// certifyOnly is a primary key that must not sign files.
func (m *maker) certifyOnly() {
	k := m.newKey("certifier")
	m.subkey(k, &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	for _, id := range k.Entity.Identities {
		sig := id.SelfCertifications[0].Packet
		sig.FlagSign = false
		if err := sig.SignUserId(id.UserId.Id, k.Entity.PrimaryKey, k.Entity.PrivateKey, &packet.Config{}); err != nil {
			m.t.Fatal(err)
		}
	}
	m.addBy("signature-by-certify-only", untrusted, "the primary key may certify keys, and sign nothing", keys(k),
		m.raw(k.Entity.PrivateKey, day0, hash(crypto.SHA512)))
}

// framing is about bytes around signatures.
func (m *maker) framing() {
	ed := m.base.Manifest
	good := m.good(ed)
	refuse := func(name, comment string, change func(sig []byte) []byte) {
		m.t.Helper()
		m.add("framing-"+name, untrusted, comment, m.base, signed(func(data []byte) []byte { return change(good(data)) }))
	}
	with := func(more ...byte) func([]byte) []byte {
		return func(sig []byte) []byte { return append(sig, more...) }
	}
	refuse("empty", "the signature file is empty", func([]byte) []byte { return []byte{} })
	refuse("trailing-byte", "one byte after the signature", with('x'))
	refuse("trailing-newline", "an editor added a line feed", with('\n'))
	refuse("trailing-text", "text after the signature", with([]byte("trust me\n")...))
	refuse("trailing-zeros", "zeros after the signature", with(make([]byte, 4096)...))
	refuse("leading-byte", "a zero before the signature", func(sig []byte) []byte { return append([]byte{0}, sig...) })
	refuse("marker", "an OpenPGP marker packet beside the signature", with(0xca, 3, 'P', 'G', 'P'))
	refuse("padding", "an OpenPGP padding packet beside the signature", with(0xd5, 2, 1, 2))
	refuse("key", "the key comes with the signature", with(ed.Public(m.t).Key...))
	for _, n := range []int{1, 2, 3, 20} {
		refuse(keyed("cut-%02d", n), keyed("only %d bytes of the signature", n), func(sig []byte) []byte { return sig[:n] })
	}
	refuse("cut-last", "the last byte of the signature is missing", func(sig []byte) []byte { return sig[:len(sig)-1] })
	refuse("cut-second", "of two signatures, the second is cut off", func(sig []byte) []byte { return append(sig, sig[:len(sig)/2]...) })
	refuse("long-packet", "one byte inside the packet that is not the signature's", func(sig []byte) []byte {
		body := append(body(sig), 'x')
		return slices.Concat([]byte{0xc2, 0xff}, binary.BigEndian.AppendUint32(nil, uint32(len(body))), body)
	})
	refuse("partial-length", "the packet is in parts", func(sig []byte) []byte {
		body := body(sig)
		return slices.Concat([]byte{0xc2, 0xe0 | 6}, body[:64], []byte{byte(len(body) - 64)}, body[64:])
	})
	refuse("indeterminate-length", "the packet ends where the file does", func(sig []byte) []byte { return append([]byte{0x8b}, body(sig)...) })
	m.add("framing-old-format", vectors.OK, "the packet has a header of the old format, as gpg's have", m.base, signed(func(data []byte) []byte {
		body := body(good(data))
		return slices.Concat([]byte{0x89}, binary.BigEndian.AppendUint16(nil, uint16(len(body))), body)
	}))
	m.add("framing-too-large", "too-large", "one byte more than 16 KiB", m.base, signed(func(data []byte) []byte {
		return append(good(data), make([]byte, trust.MaxSignatureSize+1-len(good(data)))...)
	}))
	m.addBy("framing-armored", untrusted, "armored text has room for what nobody signed", keys(ed), m.gpg.sign(ed, "--detach-sign", "--armor"))
	m.addBy("framing-inline", untrusted, "a signed message, not a signature", keys(ed), m.gpg.sign(ed, "--sign"))
	m.addBy("framing-clearsigned", untrusted, "a clear-signed message, not a signature", keys(ed), m.gpg.sign(ed, "--clear-sign"))
	v6 := m.newKey("v6", func(c *packet.Config) { c.V6Keys, c.Algorithm = true, packet.PubKeyAlgoEd25519 })
	m.add("signature-v6", untrusted, "a signature of OpenPGP version 6", m.base, signed(m.good(v6)))
}

// subkey adds one for signing, at day0 unless the config says when.
func (m *maker) subkey(k *trusttest.Key, c *packet.Config) {
	m.t.Helper()
	if c.Time == nil {
		c.Time = func() time.Time { return day0 }
	}
	k.Entity.Subkeys = nil
	if err := k.Entity.AddSigningSubkey(c); err != nil {
		m.t.Fatal(err)
	}
}

// unhashed adds the purpose to the unhashed part of a signature by an RSA-3072
// key: six bytes of head, the hashed part, two bytes of length.
func (m *maker) unhashed(sig []byte) []byte {
	m.t.Helper()
	body := body(sig)
	cut := 6 + int(binary.BigEndian.Uint16(body[4:])) + 2
	if !bytes.Equal(body[cut-2:cut], []byte{0, 0}) {
		m.t.Fatalf("the signature has an unhashed part")
	}
	p := purpose(trust.PurposeManifest)
	n := slices.Concat([]byte{20, 0x80, 0, 0, 0, 0, byte(len(p.Name)), 0, byte(len(p.Value))}, []byte(p.Name), p.Value)
	n = append([]byte{byte(len(n))}, n...)
	body = slices.Concat(body[:cut-2], []byte{0, byte(len(n))}, n, body[cut:])
	return slices.Concat([]byte{0xc2, 0xff}, binary.BigEndian.AppendUint32(nil, uint32(len(body))), body)
}

// body returns what is inside of a signature packet that the library wrote.
func body(sig []byte) []byte {
	if sig[1] < 192 {
		return slices.Clone(sig[2:])
	}
	return slices.Clone(sig[3:])
}

func keys(k ...*trusttest.Key) []*trusttest.Key { return k }

func hash(h crypto.Hash) func(*packet.Signature) { return func(s *packet.Signature) { s.Hash = h } }

func kind(t packet.SignatureType) func(*packet.Signature) {
	return func(s *packet.Signature) { s.SigType = t }
}

// note adds a notation.
func note(name, value string, critical bool) func(*packet.Signature) {
	return func(s *packet.Signature) {
		n := &packet.Notation{Name: name, Value: []byte(value), IsHumanReadable: true, IsCritical: critical}
		s.Notations = append(s.Notations, n)
	}
}

// each makes several signatures in a row.
func each(signs ...func([]byte) []byte) func([]byte) []byte {
	return func(data []byte) (sigs []byte) {
		for _, sign := range signs {
			sigs = append(sigs, sign(data)...)
		}
		return sigs
	}
}

// twice repeats one signature, byte for byte.
func twice(sign func([]byte) []byte) func([]byte) []byte {
	return func(data []byte) []byte { return bytes.Repeat(sign(data), 2) }
}

// flipped changes the last bit.
func flipped(sig []byte) []byte {
	sig[len(sig)-1] ^= 1
	return sig
}
