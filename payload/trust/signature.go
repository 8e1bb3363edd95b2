package trust

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// maxReasons bounds how many signatures an error explains, for a console.
const maxReasons = 4

// signature is one OpenPGP signature that was read but not believed yet.
type signature struct {
	*packet.Signature
	raw []byte
}

// made returns the signature's own date.
func (s signature) made() time.Time { return s.CreationTime.UTC() }

// issuer names the key that claims to have signed.
func (s signature) issuer() string {
	switch {
	case len(s.IssuerFingerprint) > 0:
		return fmt.Sprintf("%X", s.IssuerFingerprint)
	case s.IssuerKeyId != nil:
		return fmt.Sprintf("%016X", *s.IssuerKeyId)
	}
	return "that is not named"
}

// role returns the role that signs p, and its name for messages.
func (st Statement) role(p Purpose) (Role, string, error) {
	switch p {
	case PurposeStatement:
		return st.Roles.Root, "root", nil
	case PurposeManifest:
		return st.Roles.Manifest, "manifest", nil
	}
	return Role{}, "", fmt.Errorf("%w: no role signs %q", ErrUntrusted, string(p))
}

// tally returns the signatures that count, by primary key; of several by one
// key the newest. Fewer than the role's threshold are an error.
func tally(st Statement, p Purpose, data, sigs []byte) (map[Fingerprint]signature, error) {
	role, name, err := st.role(p)
	if err != nil {
		return nil, err
	}
	packets, err := splitSignatures(sigs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	counted := map[Fingerprint]signature{}
	var reasons []string
	for _, raw := range packets {
		sig, fpr, err := check(st, role, p, data, raw)
		if err != nil {
			reasons = append(reasons, err.Error())
		} else if have, ok := counted[fpr]; !ok || have.made().Before(sig.made()) {
			counted[fpr] = sig
		}
	}
	if len(counted) < role.Threshold || len(counted) == 0 {
		return nil, shortfall(name, len(counted), role.Threshold, len(packets), reasons)
	}
	return counted, nil
}

// shortfall words the error for too few signatures that count.
func shortfall(role string, have, need, total int, reasons []string) error {
	noun := "signatures"
	if total == 1 {
		noun = "signature"
	}
	why := fmt.Sprintf("%d %s", total, noun)
	if more := len(reasons) - maxReasons; more > 0 {
		reasons = append(slices.Clip(reasons[:maxReasons]), fmt.Sprintf("and %d more", more))
	}
	if len(reasons) > 0 {
		why += ": " + strings.Join(reasons, "; ")
	}
	if have == 0 {
		return fmt.Errorf("%w: no valid signature by the site's %s keys (%s)", ErrUntrusted, role, why)
	}
	return fmt.Errorf("%w: signed by %d of the %d %s keys that are needed (%s)", ErrUntrusted, have, need, role, why)
}

// splitSignatures cuts a signature file into its packets. The file must hold
// signatures and nothing else.
func splitSignatures(sigs []byte) ([][]byte, error) {
	switch {
	case len(sigs) == 0:
		return nil, errors.New("not signed: the signature file is empty")
	case len(sigs) > MaxSignatureSize:
		return nil, fmt.Errorf("the signature file has %d bytes, at most %d are read", len(sigs), MaxSignatureSize)
	case bytes.HasPrefix(bytes.TrimSpace(sigs), []byte("-----BEGIN PGP")):
		return nil, errors.New("the signature file is armored text; want it binary (gpg --dearmor)")
	}
	packets, err := splitPackets(sigs)
	if err != nil {
		return nil, fmt.Errorf("the signature file is no binary OpenPGP signature: %w", err)
	}
	var list [][]byte
	for _, p := range packets {
		if p.tag != tagSignature {
			return nil, fmt.Errorf("the signature file holds an OpenPGP packet of type %d beside signatures", p.tag)
		}
		list = append(list, p.raw)
	}
	return list, nil
}

// check returns the signature and the primary key it counts for, or why it does
// not count.
func check(st Statement, role Role, p Purpose, data, raw []byte) (signature, Fingerprint, error) {
	sig, err := readSignature(raw)
	if err != nil {
		return signature{}, "", err
	}
	entity, err := st.signer(role, sig)
	if err != nil {
		return signature{}, "", err
	}
	if err := checkForm(sig, p); err != nil {
		return signature{}, "", fmt.Errorf("%w, by key %s", err, sig.issuer())
	}
	maker, err := verify(entity, data, sig)
	if err != nil {
		return signature{}, "", fmt.Errorf("%w, by key %s", err, sig.issuer())
	}
	if err := st.Revoked.refuse(entity.PrimaryKey, maker); err != nil {
		return signature{}, "", err
	}
	return sig, fingerprint(entity.PrimaryKey), nil
}

// readSignature reads the one signature packet in raw.
func readSignature(raw []byte) (signature, error) {
	r := bytes.NewReader(raw)
	p, err := packet.Read(r)
	if err != nil {
		return signature{}, fmt.Errorf("unreadable: %w", err)
	}
	sig, ok := p.(*packet.Signature)
	if !ok || r.Len() > 0 {
		return signature{}, errors.New("unreadable: more bytes than a signature has")
	}
	if sig.Version != 4 {
		return signature{}, fmt.Errorf("OpenPGP v%d, want v4", sig.Version)
	}
	return signature{Signature: sig, raw: raw}, nil
}

// signer returns the key of the role that claims to have made sig.
func (st Statement) signer(role Role, sig signature) (*openpgp.Entity, error) {
	for _, k := range st.Keys {
		entity, err := k.parse()
		if err != nil {
			return nil, err
		}
		if !claims(sig, entity) {
			continue
		}
		if !slices.Contains(role.Keys, k.Fingerprint) {
			return nil, fmt.Errorf("by key %s, which has another role", sig.issuer())
		}
		return entity, nil
	}
	if r, ok := st.Revoked.key(Fingerprint(sig.issuer())); ok {
		return nil, r.refusal()
	}
	return nil, fmt.Errorf("by unknown key %s", sig.issuer())
}

// claims tells whether sig names the entity, or a subkey of it, as its maker.
func claims(sig signature, entity *openpgp.Entity) bool {
	if sig.CheckKeyIdOrFingerprint(entity.PrimaryKey) {
		return true
	}
	return slices.ContainsFunc(entity.Subkeys, func(sub openpgp.Subkey) bool {
		return sig.CheckKeyIdOrFingerprint(sub.PublicKey)
	})
}

// checkForm looks at all that can be judged without the signed bytes.
func checkForm(sig signature, p Purpose) error {
	switch {
	case sig.SigType == packet.SigTypeText:
		return errors.New("made in text mode, want binary")
	case sig.SigType != packet.SigTypeBinary:
		return fmt.Errorf("of type 0x%02x, want a signature over binary data", uint8(sig.SigType))
	case sig.Hash != crypto.SHA256 && sig.Hash != crypto.SHA512:
		return fmt.Errorf("made with %s, want SHA-256 or SHA-512", sig.Hash)
	}
	var purposes []string
	for _, n := range sig.Notations {
		if n.Name == Notation {
			purposes = append(purposes, string(n.Value))
		}
	}
	switch {
	case len(purposes) == 0:
		return fmt.Errorf("made for no purpose (notation %s is missing)", Notation)
	case len(purposes) > 1:
		return errors.New("made for several purposes")
	case purposes[0] != string(p):
		return fmt.Errorf("made for another purpose, %+q", clip(purposes[0]))
	}
	return nil
}

// verify checks sig over data, as of the signature's own date: the key must
// have existed then, been valid and allowed to sign. It returns the primary key
// or the subkey that made it.
func verify(entity *openpgp.Entity, data []byte, sig signature) (*packet.PublicKey, error) {
	if sig.CreationTime.Before(entity.PrimaryKey.CreationTime) {
		return nil, errors.New("dated before its key was made")
	}
	md, err := openpgp.VerifyDetachedSignatureReader(openpgp.EntityList{entity},
		bytes.NewReader(data), bytes.NewReader(sig.raw), policy(sig.CreationTime))
	if err != nil {
		return nil, fmt.Errorf("unreadable: %w", err)
	}
	if _, err := io.Copy(io.Discard, md.UnverifiedBody); err != nil {
		return nil, fmt.Errorf("unreadable: %w", err)
	}
	if err := md.SignatureError; err != nil {
		return nil, explain(err)
	}
	if md.SignedBy == nil {
		return nil, errors.New("bad")
	}
	if err := checkStrength(md.SignedBy.PublicKey); err != nil {
		return nil, err
	}
	return md.SignedBy.PublicKey, nil
}

// explain words the library's finding for a console.
func explain(err error) error {
	switch {
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return fmt.Errorf("of a revoked key (%w)", err)
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return fmt.Errorf("made after its key had expired (%w)", err)
	}
	return fmt.Errorf("bad (%w)", err)
}

// doubts lists what a clock that says now objects to, and what of that is over.
func doubts(st Statement, counted map[Fingerprint]signature, signers []Fingerprint, now time.Time) (all, expired []string) {
	if now.Before(st.Issued) {
		all = append(all, fmt.Sprintf("the clock says %s, before the trust statement was issued on %s", day(now), day(st.Issued)))
	}
	over := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		all, expired = append(all, text), append(expired, text)
	}
	if now.After(st.Expires) {
		over("trust statement %d expired on %s", st.Version, day(st.Expires))
	}
	for _, fpr := range signers {
		if made := counted[fpr].made(); made.After(now) { // at its own date it was good
			all = append(all, fmt.Sprintf("key %s: signed on %s, the clock says %s", fpr, day(made), day(now)))
		} else if why := st.over(fpr, counted[fpr], now); why != "" {
			over("key %s: %s", fpr, why)
		}
	}
	return all, expired
}

// over tells what of one signature, made before now, has run out since.
func (st Statement) over(fpr Fingerprint, sig signature, now time.Time) string {
	if sig.SigExpired(now) {
		return "its signature has expired"
	}
	i := slices.IndexFunc(st.Keys, func(k Key) bool { return k.Fingerprint == fpr })
	entity, err := st.Keys[i].parse()
	if err != nil {
		return err.Error()
	}
	if _, err := entity.VerifyPrimaryKey(now, policy(now)); err != nil {
		return fmt.Sprintf("no longer valid (%v)", err)
	}
	if _, ok := entity.SigningKeyById(now, *sig.IssuerKeyId, policy(now)); !ok {
		return "its signing subkey is no longer valid"
	}
	return ""
}

// clip shortens s for a message.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}
