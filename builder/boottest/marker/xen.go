package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// hypervisor prints what a dom0 sees of Xen and of the machine below it; elsewhere
// nothing.
func hypervisor() {
	os.Mkdir("/sys", 0o755)                     //nolint:errcheck // the next line would show it
	unix.Mount("sysfs", "/sys", "sysfs", 0, "") //nolint:errcheck // the next line would show it
	kind := property("type")
	if kind == "" {
		return
	}
	fmt.Printf("hypervisor %s %s %s\n", kind, property("version/major"), property("version/minor"))
	var names []string
	tables, _ := os.ReadDir("/sys/firmware/acpi/tables")
	for _, f := range tables {
		if !f.IsDir() {
			names = append(names, f.Name())
		}
	}
	fmt.Printf("ACPI tables: %s\n", strings.Join(names, " "))
	screens, _ := os.ReadFile("/proc/fb")
	fmt.Printf("screen: %s\n", strings.TrimSpace(string(screens)))
	fmt.Printf("processors: %d\n", runtime.NumCPU())
}

// property returns what sysfs says of the hypervisor.
func property(name string) string {
	data, _ := os.ReadFile("/sys/hypervisor/" + name)
	return strings.TrimSpace(string(data))
}
