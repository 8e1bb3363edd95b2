// Package state is what a machine remembers from one boot to the next.
package state
