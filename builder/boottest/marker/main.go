// Command marker is the /init of the system that boot tests hand over to: it
// prints the kernel's command line, which proves who was started and how, and
// the memory that is left and what it sees of Xen, and switches the machine off.
// Where the command line says farboot.hang or farboot.panic it does that instead.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	unix.Mount("proc", "/proc", "proc", 0, "") //nolint:errcheck // the next line would show it
	cmdline, err := os.ReadFile("/proc/cmdline")
	meminfo, _ := os.ReadFile("/proc/meminfo")
	fmt.Printf("\nnext kernel runs: %s%v\n%.80s\n", cmdline, err, meminfo)
	hypervisor()
	fmt.Println("next kernel done")
	end(string(cmdline))
}

// end ends the system as the command line wants it.
func end(cmdline string) {
	switch {
	case strings.Contains(cmdline, "farboot.hang"):
		time.Sleep(time.Hour)
	case strings.Contains(cmdline, "farboot.panic"):
		return // PID 1 ends, and the kernel panics
	}
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) //nolint:errcheck // PID 1 ends, and the test with it
}
