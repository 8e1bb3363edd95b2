// Package ipmisim is a controller for tests: [Start] runs OpenIPMI's ipmi_sim, a
// simulator of IPMI 2.0 that other people wrote, on a port of the loopback, with a
// script that stands for the machine.
//
// It checks no more of IPMI than ipmi_sim does, which knows cipher suite 3 and no
// boot device but those that it passes on to the script.
package ipmisim

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// Account of every controller.
const (
	User     = "operator"
	Password = "hunter2-a-b"
)

// Start runs a controller until the test ends, and returns its address. The
// script is called as "SCRIPT 0x20 get power", and prints "power:1" or
// "power:0"; as "SCRIPT 0x20 set power 1", "set reset 1", and "set boot pxe".
func Start(t testing.TB, script string) (address string) {
	t.Helper()
	sim := oracle.Tool(t, "ipmi_sim", "openipmi")
	dir := t.TempDir()
	port := freePort(t)
	files := map[string]string{
		"lan.conf": fmt.Sprintf(`name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 %d
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "%s 0x20"
  user 2 true "%s" "%s" admin 10 none md2 md5 straight
`, port, script, User, Password),
		"sim.emu": `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
`,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, filepath.Join(dir, "log"), exec.Command(sim, "-c", filepath.Join(dir, "lan.conf"), "-f", filepath.Join(dir, "sim.emu"), "-s", dir, "-n"))
	address = fmt.Sprintf("127.0.0.1:%d", port)
	waitFor(t, address)
	return address
}

// run runs the simulator until the test ends, however that does.
func run(t testing.TB, name string, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should the test be killed
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // Pdeathsig is of the thread (go.dev/issue/27505)
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err == nil {
			cmd.Wait() //nolint:errcheck // it is killed
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-ended
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("ipmi_sim: %s", text)
		}
		log.Close()
	})
}

// freePort returns a UDP port that nobody has.
func freePort(t testing.TB) int {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// waitFor waits until a controller answers a ping.
func waitFor(t testing.TB, address string) {
	t.Helper()
	conn, err := net.Dial("udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if _, err := conn.Write([]byte{6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 0, 0, 0}); err == nil {
			conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:errcheck // a UDP socket has deadlines
			if _, err := conn.Read(make([]byte, 64)); err == nil {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("ipmi_sim does not answer")
}
