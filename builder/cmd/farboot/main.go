// Command farboot builds boot media, publishes sites and tries both in QEMU.
// One file here is one verb; "farboot help" lists them. What a verb does lies
// in the packages beside cmd: this one reads arguments and talks to people.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(exitCode(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)))
}
