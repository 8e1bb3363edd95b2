// Package benchmark measures farboot side by side with what one would take
// otherwise, on the same computer in the same minutes, and prints tables:
//
//   - TestBuild: a medium, against grub-mkrescue on the same tree and against
//     cp of the image; after nothing changed, and after a key was rotated
//   - TestMirrors: a kernel and initrd from several mirrors of which one is bad,
//     against curl --retry
//   - TestDocuments: a site with 10,000 signed documents for single machines,
//     against gpg --detach-sign
//   - TestCompression: the modules' layer, against xz, zstd and gzip
//   - TestXenLoad: Xen with 49 MB of modules, against u-root and kexec-tools in the
//     same virtual machine
//   - TestChunking: an image cut and packed, against casync, desync and zstd
//   - TestImageReads: that image read over HTTP, from end to end and here and there, by
//     the Reader and through a block device, against plain Range and desync; desync is
//     built from its module where it is not installed
//   - TestBootProfile: what a boot waits for with and without a profile, against
//     fetching all of the image first
//   - TestCapture: an image of a used disk, and its publication, against
//     partclone | zstd
//   - TestBoot: a machine from the kernel's start to the next kernel, against a
//     plain GET, and curl | sha256sum, in the same virtual machine
//
// It takes minutes and so needs a build tag: "make bench" runs it. A time never
// fails it, since a time depends on the computer and on what else that does.
// Whoever wants to compare looks at ratios: contenders take turns, so that a
// busy minute hits all of them, and each column is the median of the runs.
//
// Real networks and real disks are not measured: the server is this computer.
package benchmark
