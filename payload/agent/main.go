// Command agent is /init on a farboot medium: PID 1 from power-on to the next
// kernel. It brings the network up, fetches a manifest that keys on the medium
// must have signed, and hands the machine over to the kernel that it names.
//
// It is no command for a shell: started as anything but PID 1 it refuses. Only in a
// toolbox, where it lies under the name farboot, it asks the one that is PID 1; and
// the kernel starts it under the name modprobe where it wants a module.
package main

import (
	"context"
	"fmt"
	"os"
	"path"

	"github.com/farboot/farboot/payload/agent/control"
)

func main() {
	if path.Base(os.Args[0]) == control.Name {
		os.Exit(control.Client(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if err := run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}
