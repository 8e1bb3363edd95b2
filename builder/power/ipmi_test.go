package power

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/internal/ipmisim"
	"github.com/farboot/farboot/builder/recipe"
)

// machine is a process that stands for a machine: it runs while the machine is on.
// ipmi_sim starts and ends it by a script.
func machine(t *testing.T) (script, log, pid string) {
	t.Helper()
	dir := t.TempDir()
	script, log, pid = filepath.Join(dir, "chassis"), filepath.Join(dir, "log"), filepath.Join(dir, "pid")
	text := fmt.Sprintf(`#!/bin/sh
pid=%s
on() { test -s $pid && kill -0 $(cat $pid) 2>/dev/null; }
start() { sleep 1000 >/dev/null 2>&1 & echo $! >$pid; }
stop() { on && kill -9 $(cat $pid); rm -f $pid; }
case "$2 $3" in
"get power") if on; then echo power:1; else echo power:0; fi; exit;;
"get boot") echo boot:default; exit;;
"set power") if [ "$4" = 1 ]; then on || start; else stop; fi;;
"set reset") stop; start;;
esac
echo "$2 $3 $4" >>%s
`, pid, log)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n, ok := running(pid); ok {
			syscall.Kill(n, syscall.SIGKILL) //nolint:errcheck // it may have ended
		}
	})
	return script, log, pid
}

// running returns the process of a machine.
func running(file string) (pid int, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	_, err = fmt.Sscan(string(text), &pid)
	return pid, err == nil && syscall.Kill(pid, 0) == nil
}

// ipmiConfig is for a controller by ipmi_sim, which knows cipher suite 3 alone.
func ipmiConfig(address string) Config {
	c := Config{Secret: ipmisim.Password, Name: "room-4-01"}
	c.Driver, c.Address, c.User, c.Cipher = recipe.DriverIPMI, address, ipmisim.User, 3
	return c
}

// TestIPMI drives ipmi_sim, which other people wrote, and through it a process.
func TestIPMI(t *testing.T) {
	t.Parallel()
	script, log, pid := machine(t)
	d := driverOf(t, ipmiConfig(ipmisim.Start(t, script)))
	state := func(want State) {
		t.Helper()
		if got, err := d.State(t.Context()); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		if _, on := running(pid); on != (want == IsOn) {
			t.Errorf("the process runs: %t; want %q", on, want)
		}
	}
	do := func(a Action) {
		t.Helper()
		if err := Switch(t.Context(), d, a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	state(IsOff)
	for _, device := range []Device{PXE, Disk, CD} {
		if err := d.BootNext(t.Context(), device); err != nil {
			t.Errorf("%s: %v", device, err)
		}
	}
	do(On)
	state(IsOn)
	first, _ := running(pid)
	do(On) // nothing
	do(Reset)
	second, _ := running(pid)
	if first == second || second == 0 {
		t.Errorf("a reset leaves process %d as it was", first)
	}
	state(IsOn)
	do(Cycle)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // ipmi_sim switches on seconds behind its answer
		if n, on := running(pid); on && n != second {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("a cycle does not start a new process")
		}
	}
	do(Off)
	state(IsOff)
	do(Off) // nothing
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	want := []string{"set boot pxe", "set boot default", "set boot cdrom", "set power 1", "set reset 1"}
	if diff := cmp.Diff(want, lines[:min(len(want), len(lines))]); diff != "" {
		t.Errorf("%s\n%s", diff, text)
	}
	wantClass(t, "HTTP boot", d.BootNext(t.Context(), HTTP), ErrUnsupported)
}

func TestIPMIFailures(t *testing.T) {
	t.Parallel()
	script, _, _ := machine(t)
	address := ipmisim.Start(t, script)
	for name, tt := range map[string]struct {
		change func(*Config)
		class  error
	}{
		"as it should be": {func(*Config) {}, nil},
		"wrong password":  {func(c *Config) { c.Secret = "hunter3" }, ErrPassword},
		"wrong user":      {func(c *Config) { c.User = "nobody" }, ErrPassword},
		"cipher suite":    {func(c *Config) { c.Cipher = 17 }, ErrUnsupported},
		"dead":            {func(c *Config) { c.Address = dead(t) }, ErrDead},
		"silent":          {func(c *Config) { c.Address, c.Seconds = deaf(t), 1 }, ErrDead},
		"no such name":    {func(c *Config) { c.Address = "bmc.invalid" }, ErrDead},
		"slow":            {func(c *Config) { c.Address, c.Seconds = late(t, address), 2 }, ErrSlow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := ipmiConfig(address)
			tt.change(&c)
			_, err := driverOf(t, c).State(t.Context())
			wantClass(t, name, err, tt.class)
		})
	}
}

// deaf returns an address where packets go and nothing comes back.
func deaf(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// late returns the address of a controller that answers pings at once, as the
// network part of real ones does by itself, and all else after a minute.
func late(t *testing.T, controller string) string {
	t.Helper()
	front, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp4", controller)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close(); back.Close() })
	go func() {
		packet := make([]byte, 2048)
		for {
			n, from, err := front.ReadFrom(packet)
			if err != nil {
				return
			}
			if n < 4 || packet[3] != 6 { // RMCP's class: 6 is ASF, 7 is IPMI
				continue
			}
			back.Write(packet[:n])                            //nolint:errcheck // UDP
			back.SetReadDeadline(time.Now().Add(time.Second)) //nolint:errcheck // a UDP socket has deadlines
			if n, err = back.Read(packet); err == nil {
				front.WriteTo(packet[:n], from) //nolint:errcheck // UDP
			}
		}
	}()
	return front.LocalAddr().String()
}

// TestIPMIHidesThePassword looks at what others can see of ipmitool.
func TestIPMIHidesThePassword(t *testing.T) {
	dir := t.TempDir()
	spy := "#!/bin/sh\nprintf '%s\\n' \"$@\" >" + dir + "/args\necho Chassis Power is on\n"
	if err := os.WriteFile(filepath.Join(dir, tool), []byte(spy), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if state, err := driverOf(t, ipmiConfig("[2001:db8::17]:6230")).State(t.Context()); err != nil || state != IsOn {
		t.Fatalf("%q, %v", state, err)
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(args), "hunter2") || !strings.Contains(string(args), "-E\n") {
		t.Errorf("arguments %q", args)
	}
	if !strings.Contains(string(args), "-H\n2001:db8::17\n-p\n6230\n") {
		t.Errorf("address: %q", args)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = driverOf(t, ipmiConfig("192.0.2.1")).State(t.Context())
	if wantClass(t, "no ipmitool", err, ErrUnsupported); !strings.Contains(err.Error(), "install the Debian package ipmitool") {
		t.Errorf("%v", err)
	}
}
