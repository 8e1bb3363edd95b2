package boot

import (
	"context"
	"errors"
	"net"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/live"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/agent/watchdog"
	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/flash/tailor"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/xen"
	"golang.org/x/sys/unix"
)

var (
	// errNoEntry says that the manifest has nothing for this machine.
	errNoEntry = errors.New("no entry for this machine")
	// errMemory says that the machine is too small for the entry.
	errMemory = errors.New("not enough memory")
	// errDamaged says that an object on the medium has other bytes than it was
	// burned with.
	errDamaged = errors.New("the medium is damaged")
	// errOffline says that an entry needs a network and has none.
	errOffline = errors.New("there is no network")
	// errDiskFull says that a disk takes no more, whatever it says of its size.
	errDiskFull = errors.New("the disk has no room left")
	// errNotSaved says that the machine will not remember what it boots.
	errNotSaved = errors.New("not remembered")
	// errNetwork says that an entry wants a network that cannot be handed over.
	errNetwork = errors.New("the network cannot be given to the next system")
	// errNetworks says that the file on the stick is no list of networks.
	errNetworks = errors.New("the stick's networks cannot be used")
	// errCameBack says that a watched entry did not come up.
	errCameBack = errors.New("the machine came back")
	// errKind says that this agent does not know the entry's kind.
	errKind = errors.New("this agent is too old for the entry's kind")
)

// Reason is the code in brackets on a failure's line. Codes are for looking up
// and for programs; the words behind them are for people.
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.class) {
			return r.code
		}
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "dns"
	}
	if errors.Is(err, fetch.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) {
		return "unreachable"
	}
	return "failed"
}

// reasons are in the order of their weight: of two mirrors, one with wrong bytes
// and one that is down, the first is the news.
var reasons = []struct {
	class error
	code  string
}{
	{guard.ErrCrashed, "crashed"},
	{trust.ErrUntrusted, "untrusted"},
	{trust.ErrMalformed, "malformed"},
	{trust.ErrChain, "chain"},
	{accept.ErrRollback, "rollback"},
	{accept.ErrEquivocation, "equivocation"},
	{accept.ErrFastForward, "fast-forward"},
	{accept.ErrExpired, "expired"},
	{accept.ErrNoTime, "no-time"},
	{accept.ErrRevoked, "revoked"},
	{manifest.ErrMalformed, "malformed"},
	{manifest.ErrWrongProduct, "wrong-product"},
	{errNoEntry, "no-entry"},
	{errKind, "unknown-kind"},
	{errNotSaved, "not-saved"},
	{errDamaged, "damaged-medium"},
	{errCameBack, "came-back"},
	{errNetwork, "no-parameter"},
	{errNetworks, "bad-networks"},
	{local.ErrNone, "no-system"},
	{handover.ErrFirmware, "no-boot-device"},
	{watchdog.ErrNone, "no-watchdog"},
	{handover.ErrLocked, "locked"},
	{handover.ErrRefused, "kexec-refused"},
	{xen.ErrELF, "bad-hypervisor"},
	{xen.ErrHeader, "bad-hypervisor"},
	{xen.ErrLine, "no-fit"},
	{xen.ErrModules, "no-fit"},
	{xen.ErrMap, "no-fit"},
	{xen.ErrOverlap, "no-fit"},
	{xen.ErrNotRAM, "no-fit"},
	{xen.ErrNoRoom, "no-fit"},
	{xen.ErrNoBDA, "no-fit"},
	{xen.ErrRSDP, "no-fit"},
	{disks.ErrNone, "no-disk"},
	{disks.ErrAmbiguous, "which-disk"},
	{disks.ErrBusy, "disk-in-use"},
	{disks.ErrTooSmall, "disk-too-small"},
	{errDiskFull, "disk-full"},
	{flash.ErrFake, "fake-disk"},
	{flash.ErrReadBack, "disk-error"},
	{unix.EIO, "disk-error"},
	{tailor.ErrGrow, "not-grown"},
	{tailor.ErrFiles, "no-files"},
	{flash.ErrImage, "bad-image"},
	{caibx.ErrMalformed, "bad-image"},
	{flash.ErrWrong, "corrupt"},
	{live.ErrHypervisor, "no-hypervisor"},
	{live.ErrXen, "xen-services"},
	{live.ErrWord, "bad-word"},
	{live.ErrService, "service-ended"},
	{toolbox.ErrNone, "no-toolbox"},
	{toolbox.ErrImage, "bad-toolbox"},
	{toolbox.ErrDriver, "toolbox-driver"},
	{script.ErrStart, "script-start"},
	{script.ErrFailed, "script-failed"},
	{script.ErrTimeout, "script-late"},
	{toolbox.ErrMemory, "no-memory"},
	{errMemory, "no-memory"},
	{unix.ENOMEM, "no-memory"},
	{unix.ENOSPC, "no-memory"},
	{network.ErrNoNetwork, "no-network"},
	{errOffline, "no-network"},
	{blockdev.ErrDoor, "no-door"},
	{carried.ErrDriver, "no-driver"},
	{carried.ErrNoDisk, "no-overlay"},
	{chunks.ErrImage, "bad-image"},
	{chunks.ErrChunk, "corrupt"},
	{fetch.ErrPortal, "portal"},
	{fetch.ErrCorrupt, "corrupt"},
	{fetch.ErrTooLarge, "too-large"},
	{fetch.ErrRefused, "refused"},
	{fetch.ErrNotFound, "not-found"},
	{live.ErrMachine, "no-machine"},
}
