// Package trust decides which bytes from a site may be believed.
//
// There are two kinds of key and two kinds of signed file. Root keys sign
// trust statements; a statement holds the public keys and says which of them
// are root keys, which sign manifests, and how many of them must agree. A
// medium carries one statement, and [Anchor] turns it into a [Store].
// [Store.Advance] takes a Store one statement further, [Store.Walk] as far as a
// site has statements. [Store.Open] is the only way in for everything else: it
// takes a file's bytes and those of the signature file beside it and returns a
// [Verified], which nothing outside this package can make. Decoders accept only
// that type.
//
// A signature file holds one or more binary OpenPGP v4 signatures (RFC 9580,
// section 10.4, "detached"), one after the other, in any order, as
// "gpg --detach-sign" writes them. A signature counts if it
//
//   - is made by a key of the right role, or by a signing subkey of one,
//   - is of type binary, over exactly the given bytes,
//   - uses Ed25519 or RSA with 3072 bits or more, and SHA-256 or SHA-512,
//   - carries its purpose in the notation [Notation], in the hashed part,
//   - and was made while the key was valid, by the signature's own date.
//
// Every primary key counts once. A signature that does not count does no harm,
// so that files signed by old and new keys can be read by everyone.
//
// # The chain
//
// Statements are numbered. N+1 is believed by who believes N if enough root
// keys of N and enough root keys of N+1 have signed it: the rules are those of
// The Update Framework (TUF specification, section 5.3). So a medium that was
// burned with statement 1 follows any number of rotations up to [MaxHops], and
// nobody has to be told anything but the number of the next file. A key is
// replaced by leaving it out of N+1. A root key that runs out signs its own
// prolongation while it is valid; later only the others can. On the way, dates
// of expiry of statements mean nothing; whether the last one has expired is the
// caller's to judge, by a clock that it trusts.
//
// # Revocation
//
// A key that was stolen or lost is not only left out but named in
// [Statement.Revoked]. From then on no statement of the chain can list it, nor
// a key of which it is a subkey, since what N revokes N+1 must revoke as well.
// Its signature under the very statement that revokes it counts for nothing. An
// object that must not run is revoked by its hash; [Store.Revokes] tells, and
// the caller refuses. When a manifest key is revoked, the owner raises
// [Statement.Epoch], so that the versions that the thief used up can be used
// again. That is the owner's tool's duty, and is not checked here.
//
// A revocation names a fingerprint. The same secret under another date of
// creation is another key, which only a threshold of root keys could bring in.
//
// # What a stolen root key can do
//
// With a threshold of T, a thief of fewer than T root keys can do nothing, and
// the owner gets rid of him if T other root keys are left: 2T-1 keys stand the
// loss of T-1 of them. That is two of three, not two of two.
//
// With a threshold of 1, which is how a small site starts, a thief of the root
// key is the owner's equal. The standby key lets the owner revoke the stolen one
// without burning media again. But the thief can write an N+1, too, and revoke
// the standby key in it: nothing in a signature tells who was first. A machine
// follows whichever N+1 it is shown. So the standby key repairs the damage
// wherever the site's own files arrive: on all machines whose way to the site
// the thief does not control, and on all media that are built with the new
// statement. A read-only medium of statement N that the thief can serve is lost
// to him at each start, for as long as it is in use.
//
// Nobody can un-sign: a medium of statement N believes what N's keys signed,
// and learns of a revocation only from a site that shows it N+1. Who holds a
// stolen manifest key and can also withhold N+1 (freeze) is believed by such a
// medium. A state that a machine keeps, and an expiry that a trusted clock
// checks, bound this; both are the caller's.
//
// # Clocks
//
// A machine that boots has no clock that anyone vouches for; a dead battery
// says 1970. So nothing is refused because of the time of day: keys are judged
// as of the signature's own date, and what a right clock would object to
// (expired key, expired statement, signature from the future) is reported by
// [Verified.Doubts]. A thief of an expired or superseded key can therefore
// backdate. Against that the next statement leaves the key out or, better,
// revokes it, which is fatal at any clock; so is a key's own OpenPGP revocation
// as compromised.
//
// This package does not fetch, does not compare versions of manifests, does not
// remember and does not know what the bytes mean.
package trust
