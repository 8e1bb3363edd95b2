// Package mediumtest holds the shipped recipe's real medium to its promises
// without booting it: the same bytes whoever builds, formats that other
// people's programs read without a complaint, sizes, and no secret key in
// anything that leaves the desk.
//
// The tests build with the farboot command from the machine's own apt
// repository, twice, which takes minutes, and so need a build tag:
// go test -tags boot ./builder/mediumtest
//
// Small media, mistakes and interruptions are the matter of the scripts in
// cmd/farboot; that a medium boots is boottest's. What GRUB's menu starts beside
// the agent is tried here.
package mediumtest
