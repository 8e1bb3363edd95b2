// Package house holds the rules of the house as tests: which way imports run,
// how large a file may grow, that every package says what it is for. It has no
// code of its own, and nothing imports it.
package house
