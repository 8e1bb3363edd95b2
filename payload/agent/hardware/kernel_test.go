package hardware

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAvailable(t *testing.T) {
	for content, want := range map[string]int64{
		"MemTotal:  210752 kB\nMemFree:  183192 kB\nMemAvailable:   190000 kB": 190000 << 10,
		"MemTotal:  210752 kB":  -1,
		"MemAvailable: lots kB": -1,
		"MemAvailable: 190000":  -1,
	} {
		if got := Available(tree(map[string]string{"meminfo": content})); got != want {
			t.Errorf("Available of %q = %d, want %d", content, got, want)
		}
	}
	if got := Available(os.DirFS("/proc")); got <= 0 {
		t.Errorf("Available on this machine = %d", got)
	}
}

func TestWaitEntropy(t *testing.T) {
	var log lines
	if err := WaitEntropy(t.Context(), log.log); err != nil || len(log) != 0 {
		t.Errorf("on a machine with entropy: %v, logged %q", err, log)
	}
}

func TestMuteSysRq(t *testing.T) {
	proc := t.TempDir()
	if err := MuteSysRq(proc); err != nil {
		t.Errorf("a kernel without SysRq: %v", err)
	}
	if _, err := os.Stat(filepath.Join(proc, "sys")); err == nil {
		t.Error("something was made in /proc")
	}
	name := filepath.Join(proc, "sys/kernel/sysrq")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("438\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := MuteSysRq(proc); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); string(got) != "0\n" || err != nil {
		t.Errorf("kernel.sysrq is %q, %v", got, err)
	}
}
