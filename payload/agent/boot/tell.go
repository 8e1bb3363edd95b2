package boot

import (
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/accept"
)

// tellTrust says whom the machine believes, whenever that has changed.
func (b *boot) tellTrust() {
	st := b.judge.Store().Statement()
	if st.Version == b.told {
		return
	}
	b.told = st.Version
	b.Log("trust: statement %d (the medium carries %d), product %s: %d of %s must sign a manifest",
		st.Version, b.medium.Store.Statement().Version, st.Product, st.Roles.Manifest.Threshold, short(st.Roles.Manifest.Keys))
}

// tell says what was accepted, how old it is, by whom it was signed, and what
// could not be verified. The clock learns its date, which is as good as its
// signer's clock, and was as good at the time as a thief's who had the key.
func (b *boot) tell(a *accept.Accepted, site string) {
	m := a.Manifest
	b.site = site
	b.Story.Accepted(m.Epoch, m.Version)
	b.clock.Offer(m.Issued, "the manifest's date", false)
	now, what := b.clock.Time(), "version"
	if m.Document != "" {
		what = "document " + m.Document + ", version"
	}
	b.Log("manifest: %s %d of epoch %d, %s old, signed by %s, from %s", what, m.Version, m.Epoch, age(now.Now.Sub(m.Issued)), short(a.Signers), site)
	for _, doubt := range a.Doubts {
		b.Log("manifest: %s: %s", doubtful(now), doubt)
	}
}

// age shows how long ago something was, in the largest unit that tells.
func age(d time.Duration) string {
	d = max(d, 0) // a signer's clock may be ahead
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
