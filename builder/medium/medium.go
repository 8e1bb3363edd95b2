// Package medium composes what a boot medium holds and packs it: as a hybrid
// image for CD and USB stick, and as a netboot folder for a TFTP or HTTP
// server.
//
// [Compose] takes a recipe with its locked and fetched inputs and returns a
// [Medium]; [Medium.Write] packs it as both. The packages below it know the
// formats: iso9660, esp, hybrid; inspect reads a finished image back.
//
// The same lock, agent, trust statement and floor give the same bytes: the epoch comes
// from the lock, the GUIDs and the marker's name from the [BuildID]. Nothing
// that holds a secret key is packed. The package does not sign and does not
// fetch.
package medium

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

// Packages that every medium takes its bootloaders from.
const (
	shimPackage    = "shim-signed"
	grubEFIPackage = "grub-efi-amd64-signed"
	grubPCPackage  = "grub-pc-bin"
)

// Where things lie on a medium.
const (
	kernelPath = "boot/vmlinuz"
	initrdPath = "boot/initrd.img"
	configPath = "boot/grub/grub.cfg"
	corePath   = "boot/grub/i386-pc/eltorito.img"
	espPath    = "boot/efi.img"
	lockCopy   = "farboot/lock.json"
)

// Parts is all that a medium is made of.
type Parts struct {
	Recipe *recipe.Recipe // of kind medium
	Lock   *lock.Lock
	Blobs  *source.Blobs
	Cache  *cache.Cache
	// Warn, where not nil, is told what may be wrong with the toolbox.
	Warn func(error)
	// Agent is the path of the agent's static binary, which becomes /init.
	Agent string
	// Statement and Signatures are the trust statement that the medium carries
	// and its signature file.
	Statement, Signatures []byte
	// Lineage is the SHA-256 of trust statement 1, with which the chain began.
	Lineage object.ID
	// Floor is what was published so far: the medium's agent accepts nothing
	// older.
	Floor state.Floor
}

// Medium is a composed medium, not packed yet.
type Medium struct {
	Name  string
	Build BuildID
	// Epoch is every date on the medium.
	Epoch time.Time
	// Kernel is the release of the agent's kernel: "6.1.0-56-amd64".
	Kernel string

	files    tree.Tree // all but what makes the image start
	menu     grub.Menu
	core     tree.File
	bootCode []byte
	// shim and grubNet start machines from the network.
	shim, grubNet tree.File
}

// Inputs lists what a medium needs beside what its recipe names.
func Inputs(r *recipe.Medium) []recipe.Input {
	in := []recipe.Input{{Deb: shimPackage}, {Deb: grubEFIPackage}, {Deb: grubPCPackage}}
	if defaultRoots(r) {
		in = append(in, recipe.Input{Deb: rootsPackage})
	}
	if hasXen(r) {
		in = append(in, recipe.Input{Deb: grubModulesPackage})
	}
	return in
}

// BuildID is the hash of everything that a medium was made of. Its first 8
// bytes name the marker file by which GRUB tells this medium from others.
type BuildID [sha256.Size]byte

// String returns the first 8 bytes as 16 hexadecimal digits.
func (b BuildID) String() string { return hex.EncodeToString(b[:8]) }

// marker is the file by which GRUB finds this medium among all disks.
func (b BuildID) marker() string { return "boot/" + b.String() }

// derive returns a hash for one more use of the BuildID.
func (b BuildID) derive(use string) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(use+"\n"), b[:]...))
}

// buildID hashes the parts. The lock's sum stands for every package, the layers
// of the initramfs for the agent and for how this farboot packs them.
func buildID(p Parts, layers []object.Ref) BuildID {
	return BuildID(keyOf("medium", object.OfBytes(p.Recipe.Raw), p.Lock.Sum, layers, object.OfBytes(p.Statement), object.OfBytes(p.Signatures), p.Lineage, p.Floor))
}

// keyOf hashes what a result depends on.
func keyOf(what string, inputs ...any) object.ID {
	data, err := json.Marshal(append([]any{what}, inputs...))
	if err != nil {
		panic("medium: key of " + what + ": " + err.Error()) // a type without a JSON form
	}
	return sha256.Sum256(data)
}

// fromCache returns the file with mode 0644 that lies in the cache at path.
func fromCache(name, path string) (tree.File, error) {
	f, err := tree.OnDisk(name, path)
	if err != nil {
		return tree.File{}, fmt.Errorf("medium: %w", err)
	}
	return f, nil
}
