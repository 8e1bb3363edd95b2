package grub

import (
	"fmt"
	"regexp"
	"strings"
)

// serialPort is a serial console as GRUB's serial command takes it.
type serialPort struct {
	address string // I/O port of the UART
	speed   string // baud
	parity  string // "no", "odd", "even"
	word    string // bits
}

// uarts are the I/O ports of ttyS0 to ttyS3 (arch/x86/include/asm/serial.h). The
// address is used, not GRUB's unit number: that one counts what the BIOS lists,
// and a machine with ttyS1 alone has it as unit 0.
var uarts = [...]string{"0x3f8", "0x2f8", "0x3e8", "0x2e8"}

// serialConsole matches what the kernel's console= takes for a UART
// (Documentation/admin-guide/serial-console.rst): speed, parity, bits, flow
// control. Without options a kernel takes 9600n8.
var serialConsole = regexp.MustCompile(`^ttyS([0-9]+)(?:,([0-9]{3,7})(?:([noe])([78])?(r)?)?)?$`)

// otherConsole matches consoles that GRUB has nothing to do with.
var otherConsole = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]*(,[a-zA-Z0-9,]+)?$`)

var parities = map[string]string{"": "no", "n": "no", "o": "odd", "e": "even"}

// serialPorts picks the UARTs out of a list of kernel consoles, in its order.
func serialPorts(consoles []string) ([]serialPort, error) {
	var ports []serialPort
	for _, c := range consoles {
		if !strings.HasPrefix(c, "ttyS") {
			if !otherConsole.MatchString(c) {
				return nil, fmt.Errorf("console %q: want a value like \"tty0\" or \"ttyS0,115200\"", c)
			}
			continue
		}
		m := serialConsole.FindStringSubmatch(c)
		if m == nil {
			return nil, fmt.Errorf("console %q: want a value like \"ttyS0,115200\" or \"ttyS1,57600n8\"", c)
		}
		// Beyond ttyS3 are PCI cards, whose addresses nobody knows in advance.
		if len(m[1]) == 1 && m[1] < "4" {
			ports = append(ports, serialPort{
				address: uarts[m[1][0]-'0'],
				speed:   or(m[2], "9600"),
				parity:  parities[m[3]],
				word:    or(m[4], "8"),
			})
		}
	}
	return ports, nil
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
