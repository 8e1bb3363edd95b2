// Package apt finds packages in signed apt repositories, without apt.
//
// [Configure] says which repositories serve a recipe's suite: the ones that
// the recipe names, or else the machine's own. [Client.Open] reads and
// verifies them and answers with an [Index], whose [Index.Lookup] gives a
// package's newest version with the size and SHA-256 that the archive's key
// vouches for, and whose [Index.Closure] gives packages with all that they need.
//
// # Trust
//
// The chain is apt-secure(8)'s: keyring -> InRelease -> Packages -> package.
// A keyring counts for the source that names it and for no other. A signature
// by any one usable key of that keyring is enough; SHA-1, DSA and RSA below
// 2048 bits are not usable, nor is a key that has expired or is revoked at the
// moment of judgement: now, or the recipe's snapshot. Mirrors need no trust:
// every one is held to the same checks, and the next is tried where one fails.
//
// Against a mirror that serves yesterday's state for ever stand Valid-Until,
// which Debian sets for its security archive alone, and [Client.Floor].
//
// # What it does not do
//
// What loosens these checks in a machine's apt configuration is not honoured:
// Acquire::Check-Valid-Until, Trusted, Allow-Weak. Nor are pins, credentials
// and proxies of apt.conf. Only InRelease is read, not Release with
// Release.gpg; only http and https, and mirror+file: lists of them; only the
// dists/ layout; only packages for amd64 and for all. Dependencies are resolved
// for an empty root, without a way back: see [Index.Closure].
package apt

import "errors"

// Names of repositories, as locks and [Package] have them.
const (
	RepoArchive  = "archive"  // the suite and its -updates
	RepoSecurity = "security" // its -security
)

// Limits on what a repository may send, with what Debian 12 sends.
const (
	maxRelease  = 4 << 20   // bytes of an InRelease; 151 075
	maxIndex    = 512 << 20 // bytes of a Packages file, expanded; 50 060 337 (Packages.xz 8 790 396)
	maxPackage  = 16 << 30  // bytes of a package; some 2 GB
	maxConfFile = 1 << 20   // bytes of one file of apt's configuration; some 1 000
	maxKeyring  = 4 << 20   // bytes of a keyring; 55 918
)

// Classes of error, for errors.Is. Bytes that are not those that were signed
// wrap object.ErrMismatch.
var (
	// ErrNoSource says that nothing configured serves the suite. The way out
	// is to set mirror, security and keyring under "apt:" in the recipe.
	ErrNoSource = errors.New("no apt source")
	// ErrUntrusted says that no usable key of the source's keyring signed.
	ErrUntrusted = errors.New("untrusted release")
	// ErrStale says that a release is over (Valid-Until), or older than what
	// was seen before ([Client.Floor]), or from the future.
	ErrStale = errors.New("stale release")
	// ErrMalformed says that signed data breaks its format's rules.
	ErrMalformed = errors.New("malformed")
	// ErrWrongSuite says that a genuine release is not the one asked for.
	ErrWrongSuite = errors.New("wrong suite")
	// ErrNotFound says that no repository has the package.
	ErrNotFound = errors.New("no such package")
)
