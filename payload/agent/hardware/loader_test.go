package hardware

import "testing"

// TestParameters: a watchdog is to outlive the jump to the next kernel.
func TestParameters(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/drivers/watchdog/watchdog.ko": "stop_on_reboot=0",
		"kernel/drivers/watchdog/i6300esb.ko": "",
		"kernel/drivers/net/virtio_net.ko":    "",
	} {
		if got := parameters(file); got != want {
			t.Errorf("parameters(%q) = %q, want %q", file, got, want)
		}
	}
}
