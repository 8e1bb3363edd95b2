// Package boottest boots what farboot makes, in QEMU: media are built and sites
// published by the farboot command, as a user types it, from real packages, and
// a machine goes from its firmware to the next kernel. The tests wait for
// phrases on the serial console.
//
// They take minutes and so need a build tag: go test -tags boot ./builder/boottest
//
// Real hardware is not tested; TESTING.md says what follows from that.
package boottest
