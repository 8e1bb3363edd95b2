package vectors_test

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
)

type manifestT = manifest.Manifest

// releasesManifest hands out the manifest, which boots what is given.
func releasesManifest(boots string) option { return releases(boots, manifest.File) }

// contents are manifests that are signed and cannot be read, or only by some.
func (m *maker) contents() {
	sim := m.base
	text := func(name, comment, old, new string) {
		m.t.Helper()
		m.add("manifest-"+name, "malformed", comment, sim, m.text(sim, old, new))
	}
	text("duplicate-key", "one parser takes the first version, another the last", `"version": 12,`, `"version": 12, "version": 13,`)
	text("duplicate-entry", "an entry stands twice", `"rescue": {`, `"installer": {`)
	text("case-folded-key", "some parsers take Version for version", `"version": 12,`, `"Version": 12,`)
	text("unicode-folded-key", "some parsers take this s for an s", `"version": 12,`, `"verſion": 12,`)
	text("escaped-key", "the same key twice, once escaped", `"version": 12,`, `"version": 12, "v\u0065rsion": 13,`)
	text("unknown-field", "a field that this program does not know", `"format": 1,`, `"format": 1, "also": 1,`)
	text("null", "null is no value", `"channel": "stable"`, `"channel": null`)
	text("format", "another format", `"format": 1`, `"format": 2`)
	text("negative-version", "a version below zero", `"version": 12`, `"version": -12`)
	text("zero-version", "versions begin at 1", `"version": 12`, `"version": 0`)
	text("huge-version", "a version of 2^63", `"version": 12`, `"version": 9223372036854775808`)
	text("float-version", "a version that is no whole number", `"version": 12`, `"version": 12.5`)
	text("zero-epoch", "epochs begin at 1", `"epoch": 1`, `"epoch": 0`)
	text("expires-before-issued", "it expires before it was issued", `"expires": "2026-12-01`, `"expires": "2026-10-01`)
	text("invalid-utf8", "a byte that is no UTF-8", `"title": "Installer"`, "\"title\": \"Inst\xffaller\"")
	text("escape-in-title", "a title with an escape code for consoles", `"title": "Installer"`, `"title": "\u001b[2JInstaller"`)
	text("bidi-title", "a title that reads backwards", `"title": "Installer"`, "\"title\": \"\u202eInstaller\"")
	text("newline-in-cmdline", "a command line of two lines", `"cmdline": "quiet"`, `"cmdline": "quiet\ninit=/bin/sh"`)
	text("quote-in-cmdline", "a double quote that is not closed", `"cmdline": "quiet"`, `"cmdline": "quiet\""`)
	text("long-cmdline", "one byte more than the kernel keeps", `"cmdline": "quiet"`, `"cmdline": "`+strings.Repeat("x", 2048)+`"`)
	ref := object.OfBytes([]byte("kernel"))
	sum := `"` + ref.SHA256.String() + `"`
	text("hash-missing", "a kernel without a hash", `"sha256": `+sum, `"sha256": "`+strings.Repeat("0", 64)+`"`)
	text("hash-short", "a hash of 31 bytes", sum, sum[:63]+`"`)
	text("negative-size", "a kernel of -6 bytes", `"size": 6`, `"size": -6`)
	text("zero-size", "a kernel of no bytes", `"size": 6`, `"size": 0`)
	text("huge-size", "a kernel of 2^62 bytes", `"size": 6`, `"size": `+strconv.Itoa(1<<62))
	text("no-such-entry", "the default names an entry that is not there", `    "rescue"`+"\n", `    "rescues"`+"\n")
	text("two-kinds", "an entry of two kinds", `"title": "Installer",`, `"title": "Installer", "power": {"action": "off"},`)
	text("trailing-value", "another value after the manifest", "\n}\n", "\n}\n{}\n")
	text("cut", "signed before it was complete", "\n}\n", "\n")
	text("deep", "nested 100 deep", `"format": 1,`, `"format": 1, "also": `+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,`)
	m.add("manifest-empty", "malformed", "an empty file, well signed", sim, m.bytes(sim, []byte{}))
	m.add("manifest-missing", "not-found", "there is none", sim, set(manifest.File, nil))

	pad := func(size int) option {
		return func(v *vectors.Vector) {
			data := v.Files[manifest.File]
			head := data[:len(data)-2] // without "}\n"
			m.bytes(sim, append(append(bytes.Clone(head), bytes.Repeat([]byte(" "), size-len(data))...), "}\n"...))(v)
		}
	}
	m.add("manifest-too-large", "too-large", "one byte more than 1 MiB", sim, pad(manifest.MaxSize+1))
	m.add("manifest-unknown-kind", vectors.OK, "an entry of a later kind does not hide the others", sim,
		m.text(sim, `"title": "Installer",`+"\n      \"linux\"", `"title": "Installer",`+"\n      \"quantum\""), releasesManifest("rescue"))
	m.add("manifest-unknown-kind-field", vectors.OK, "an entry with a later field does not hide the others", sim,
		m.text(sim, `"cmdline": "quiet"`, `"cmdline": "quiet", "unless": "monday"`), releasesManifest("rescue"))
}

// versions are about which manifest it is.
func (m *maker) versions() {
	sim := m.base
	for name, change := range map[string]func(x *manifestT){
		"product": func(x *manifestT) { x.Product = "other" },
		"arch":    func(x *manifestT) { x.Arch = "arm64" },
		"channel": func(x *manifestT) { x.Channel = "testing" },
	} {
		m.add("wrong-"+name, "wrong-product", "the manifest of another "+name+", by the same key", sim, m.manifestOf(sim, 12, change))
	}
	m.add("wrong-epoch", "chain", "the manifest is of a later epoch than the statements", sim, m.manifestOf(sim, 12, func(x *manifestT) { x.Epoch = 2 }))
	later := sim.Fork()
	later.Issue(func(st *trust.Statement) { st.Epoch = 2 })
	m.add("wrong-epoch-old", "rollback", "the manifest is of an epoch that is over", later, m.manifestOf(later, 12, func(x *manifestT) { x.Epoch = 1 }), releases("", "trust/2.json"))

	seen := state.Floor{Statement: 1, Epoch: 1, Version: 12, SHA256: object.OfBytes([]byte("another")).SHA256, Issued: day0}
	known := func(v *vectors.Vector) {
		f := seen
		f.SHA256 = object.OfBytes(v.Files[manifest.File]).SHA256
		floor(f)(v)
	}
	version := func(n int64) option { return m.manifestOf(sim, n, nil) }
	m.add("floor-same", vectors.OK, "the manifest that was believed before", sim, known)
	m.add("floor-newer", vectors.OK, "the version after that", sim, version(13), floor(seen))
	m.add("rollback-version", "rollback", "a genuine manifest, one version older than what was believed", sim, version(11), floor(seen))
	m.add("equivocation", "equivocation", "the version that was believed before, with other bytes", sim, floor(seen))
	m.add("fast-forward-at-the-bound", vectors.OK, "1,000,000 versions on", sim, version(12+accept.MaxJump), floor(seen))
	m.add("fast-forward", "fast-forward", "1,000,001 versions on", sim, version(13+accept.MaxJump), floor(seen))
	m.add("fast-forward-last", "fast-forward", "the last version there is", sim, version(math.MaxInt64), floor(seen))
	m.add("fast-forward-no-floor", "fast-forward", "too far for a medium that has seen nothing", sim, version(1+accept.MaxJump))
	ahead := seen
	ahead.Version = 1 << 62
	m.add("fast-forward-healed", vectors.OK, "a thief's version 2^62 was believed; the next epoch counts anew", later, m.manifestOf(later, 1, nil), floor(ahead))
	ahead.Epoch, ahead.Version, ahead.Statement = 2, 1, 1
	m.add("rollback-epoch", "rollback", "a manifest of epoch 2 was believed, the site ends at 1", sim, floor(ahead))
	ahead = state.Floor{Statement: 2}
	m.add("rollback-statement", "rollback", "statement 2 was reached before, the site ends at 1", sim, floor(ahead))
}

// documents are what one machine boots.
func (m *maker) documents() {
	sim := m.base
	mac := manifest.Match{MAC: machine.MACs[0]}
	mine := manifest.DocumentPath(manifest.DocumentID(mac))
	document := func(version int64, match manifest.Match, as string) option {
		return func(v *vectors.Vector) {
			x := m.sample(sim, version)
			x.Document = manifest.DocumentID(match)
			x.Machines, x.Default = []manifest.Machine{{Match: match, Boot: []string{"rescue"}}}, nil
			m.put(sim, v, x)
			if from := manifest.DocumentPath(x.Document); as != "" && from != as {
				move(from, as)(v)
				set(from, nil)(v)
				set(from+".sig", nil)(v)
			}
		}
	}
	announced := m.manifestOf(sim, 12, func(x *manifestT) { x.Documents = true })
	site := func(name, expect, comment string, options ...option) {
		m.t.Helper()
		options = append([]option{announced}, options...)
		if expect != vectors.OK {
			options = append(options, releases("", manifest.File))
		}
		m.add("document-"+name, expect, comment, sim, options...)
	}
	uuid := manifest.Match{UUID: machine.UUID}
	site("by-mac", vectors.OK, "the machine's own document", document(12, mac, ""), releases("rescue", manifest.File, mine))
	site("by-uuid-first", vectors.OK, "the UUID's document counts before the MAC's", document(12, mac, ""), document(12, uuid, ""),
		releases("rescue", manifest.File, manifest.DocumentPath(manifest.DocumentID(uuid))))
	site("newer", vectors.OK, "a document may be newer than the manifest", document(13, mac, ""), releases("rescue", manifest.File, mine))
	site("missing", vectors.OK, "no document is the manifest's default", document(12, other, ""))
	site("of-another", "wrong-product", "another machine's document in the place of this one's", document(12, other, mine))
	both := manifest.Match{UUID: machine.UUID, Serial: "another"}
	site("of-another-serial", "wrong-product", "the document of a machine with the same UUID and another serial number", document(12, both, ""))
	site("older", "rollback", "a document of an older version than the manifest", document(11, mac, ""))
	site("far-ahead", "fast-forward", "a document 1,000,001 versions on", document(1+accept.MaxJump, mac, ""))
	site("unsigned", untrusted, "a document without signatures", document(12, mac, ""), set(mine+".sig", nil))
	site("manifest-as-document", "wrong-product", "the site's manifest in the place of a document", move(manifest.File, mine))
	m.add("document-as-manifest", "wrong-product", "a document in the place of the site's manifest", sim, document(12, mac, manifest.File))
	m.add("document-not-announced", vectors.OK, "nobody asks for a document that the manifest does not announce", sim, document(12, mac, ""))
	m.add("machine-in-manifest", vectors.OK, "a machine that the manifest itself names", sim, m.manifestOf(sim, 12, func(x *manifestT) {
		x.Machines = []manifest.Machine{{Match: other, Boot: []string{"installer"}}, {Match: mac, Boot: []string{"rescue"}}}
	}), releasesManifest("rescue"))
}
