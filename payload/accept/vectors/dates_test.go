package vectors_test

import (
	"crypto"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

const hour = 3600 // in seconds

// dates are about keys and signatures and when they were made.
func (m *maker) dates() {
	ed := m.base.Manifest
	short := m.newKey("short", func(c *packet.Config) { c.KeyLifetimeSecs = 10 * 24 * hour })
	far := m.newKey("far", func(c *packet.Config) { c.KeyLifetimeSecs = 50 * 365 * 24 * hour })
	over := at(day0.AddDate(0, 0, 11))
	m.addBy("date-before-key", untrusted, "signed before its key was made", keys(ed), m.raw(ed.Entity.PrivateKey, day0.Add(-time.Second), hash512))
	m.addBy("date-in-the-future", vectors.OK, "signed ten days from now: the desk's clock was wrong, not the machine's", keys(ed), m.raw(ed.Entity.PrivateKey, day0.AddDate(0, 0, 11), hash512))
	m.addBy("date-a-bit-ahead", vectors.OK, "the signer's clock is up to a day ahead", keys(ed), m.raw(ed.Entity.PrivateKey, day0.AddDate(0, 0, 1).Add(14*time.Hour), hash512))
	m.addBy("key-valid", vectors.OK, "a key that expires in fifty years", keys(far), m.good(far))
	m.addBy("key-expired-now", "expired", "signed in time, the key expired yesterday", keys(short), m.good(short), over)
	m.addBy("key-expired-unsure", vectors.OK, "the key expired by a clock that nobody vouches for", keys(short), m.good(short), unsure(day0.AddDate(0, 0, 11)))
	m.addBy("key-expired-then", untrusted, "signed after the key had expired", keys(short), m.raw(short.Entity.PrivateKey, day0.AddDate(0, 0, 11), hash512), unsure(day0))
	brief := m.good(ed, func(c *packet.Config) { c.SigLifetimeSecs = 10 * 24 * hour })
	m.addBy("signature-expired-now", "expired", "the signature was good for ten days", keys(ed), brief, over)
	m.addBy("signature-expired-unsure", vectors.OK, "the signature expired by a clock that nobody vouches for", keys(ed), brief, unsure(day0.AddDate(0, 0, 11)))

	// A key that says of itself that it is revoked, since an hour after the
	// statement was signed.
	revoked := func(name string, why packet.ReasonForRevocation) *trusttest.Key {
		k := m.newKey(name)
		if err := k.Entity.Revoke(why, "", &packet.Config{Time: func() time.Time { return day0.Add(time.Hour) }}); err != nil {
			m.t.Fatal(err)
		}
		return k
	}
	soft, hard := revoked("superseded", packet.KeySuperseded), revoked("compromised", packet.KeyCompromised)
	by := func(k *trusttest.Key, made time.Time) func([]byte) []byte {
		return m.raw(k.Entity.PrivateKey, made, hash512)
	}
	m.addBy("key-superseded-now", "expired", "signed before the key was superseded, and it is now", keys(soft), by(soft, day0))
	m.addBy("key-superseded-unsure", vectors.OK, "signed before the key was superseded, the time is not known", keys(soft), by(soft, day0), unsure(day0))
	m.addBy("key-superseded-then", untrusted, "signed after the key was superseded", keys(soft), by(soft, day0.Add(2*time.Hour)), unsure(day0))
	m.add("key-compromised", "malformed", "a compromised key was never good, whatever the date", m.base, m.next(m.base, func(st *trust.Statement) {
		m.base.List(st, trusttest.Manifest, hard)
	}), then(vectors.OK, 1))
	for name, k := range map[string]*trusttest.Key{
		"rsa2048":  m.newKey("weak", func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 2048 }),
		"nistp256": m.newKey("weak", func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveNistP256 }),
		"v6":       m.newKey("v6", func(c *packet.Config) { c.V6Keys, c.Algorithm = true, packet.PubKeyAlgoEd25519 }),
	} {
		m.add("key-"+name, "malformed", "statement 2 lists a key of "+name, m.base, m.next(m.base, func(st *trust.Statement) {
			m.base.List(st, trusttest.Manifest, k)
		}), then(vectors.OK, 1))
	}
	m.add("key-two-in-one", "malformed", "two keys where one is named: libraries read the first", m.base, m.next(m.base, func(st *trust.Statement) {
		k := m.newKey("a").Public(m.t)
		k.Key = append(k.Key, m.newKey("b").Public(m.t).Key...)
		st.Keys, st.Roles.Manifest.Keys = append(st.Keys, k), append(st.Roles.Manifest.Keys, k.Fingerprint)
	}), then(vectors.OK, 1))
	m.add("key-other-fingerprint", "malformed", "a key under the fingerprint of another", m.base, m.next(m.base, func(st *trust.Statement) {
		k := m.newKey("a").Public(m.t)
		k.Fingerprint = m.newKey("b").Fingerprint()
		st.Keys, st.Roles.Manifest.Keys = append(st.Keys, k), append(st.Roles.Manifest.Keys, k.Fingerprint)
	}), then(vectors.OK, 1))
}

var hash512 = hash(crypto.SHA512)

// clocks are a good site at odd times.
func (m *maker) clocks() {
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	for name, now := range map[string]time.Time{"1970": year(1970), "2000": year(2000), "2040": year(2040)} {
		over, why := vectors.OK, "what is dated ahead of a trusted time is not over"
		if now.After(day0) {
			over, why = "expired", "all is over by a trusted time"
		}
		m.add("clock-"+name+"-unsure", vectors.OK, "a clock that nobody vouches for refuses nothing", m.base, unsure(now))
		m.add("clock-"+name+"-trusted", over, why, m.base, at(now))
		m.add("clock-"+name+"-required", "no-time", "the medium requires a trusted time", m.base, unsure(now), requireTime)
	}
	m.add("clock-required-good", vectors.OK, "the medium requires a trusted time, and has one", m.base, requireTime)
	m.add("clock-required-expired", "expired", "the medium requires a trusted time, and the manifest is over", m.base, requireTime, at(day0.AddDate(0, 1, 1)))
	m.add("freeze", "expired", "the manifest expired yesterday", m.base, at(day0.AddDate(0, 1, 1)))
	m.add("freeze-unsure", vectors.OK, "the manifest expired by a clock that nobody vouches for", m.base, unsure(day0.AddDate(0, 1, 1)))
	m.add("freeze-last-second", vectors.OK, "the manifest expires this second", m.base, at(day0.AddDate(0, 1, 0)))
}
