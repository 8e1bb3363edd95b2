// Command plain is the /init that the agent is compared with: it wakes drivers
// and network with the agent's own code and then does what a machine has to do
// at least, a plain GET and SHA-256 of each URL listed in /urls, by net/http and
// by "curl | sha256sum". It prints one line a download and switches off.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "plain: failed:", err)
	}
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) //nolint:errcheck // PID 1 ends, and the benchmark with it
}
