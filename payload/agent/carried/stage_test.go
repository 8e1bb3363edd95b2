package carried

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/report"
)

// TestStageTwo goes from /init to the system's own init, on the kernel of this machine.
// The system reads the image by a server whose initramfs is gone, and whose network is
// away for a while.
func TestStageTwo(t *testing.T) {
	w := newWeb(t, random(3<<20+500))
	cmd := machineOf(t, w.document(freeLoop(t)))
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	go func() {
		for w.asked.Load() < 3 {
			time.Sleep(time.Millisecond)
		}
		w.away.Store(true)
		time.Sleep(2 * time.Second)
		w.away.Store(false)
	}()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, said.Bytes())
	}
	want := "<" + string(w.image) + string(make([]byte, 12)) + ">the system is content\n"
	if out.String() != want {
		t.Errorf("the system has read %d bytes, want %d; %s", out.Len(), len(want), said.Bytes())
	}
}

// TestStageTwoFails: what nobody has right is an I/O error of the read that wants it,
// and the owner is told once.
func TestStageTwoFails(t *testing.T) {
	w := newWeb(t, random(3<<20))
	told := make(chan report.Report, 10)
	inbox := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got, err := report.Decode(data)
		if err != nil {
			t.Errorf("%v: %s", err, data)
		}
		told <- got
	}))
	t.Cleanup(inbox.Close)
	d := w.document(freeLoop(t))
	d.Report = &carry.Report{URLs: []string{inbox.URL}, Story: report.Report{
		Format: report.Format, Boot: "00000000-0000-4000-8000-000000000000", Machine: report.Machine{MACs: []string{"52:54:00:12:34:56"}}, Medium: "m", Product: "p",
		Entry: "live", Outcome: report.HandingOver, Time: time.Now().UTC(),
	}}
	w.bad.Store(2 << 20)
	cmd := machineOf(t, d)
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("input/output error")) {
		t.Fatalf("%v: %.300q", err, out[max(0, len(out)-300):])
	}
	if got := <-told; got.Code != "corrupt" || got.Outcome != report.Failed || got.Entry != "live" || !strings.Contains(got.Text, "no site has this chunk of the image right") {
		t.Errorf("%+v", got)
	}
	if len(told) > 0 {
		t.Errorf("%d reports more", len(told))
	}
}

// TestRoot: a squashfs becomes the root of a system, read as it is needed or from a
// copy in memory.
func TestRoot(t *testing.T) {
	for _, copied := range []bool{false, true} {
		t.Run(fmt.Sprintf("copy %t", copied), func(t *testing.T) {
			dir, data := t.TempDir(), random(2<<20)
			static, err := program()
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(os.MkdirAll(dir+"/root/sbin", 0o755), os.WriteFile(dir+"/root"+rootInit, static, 0o755),
				os.WriteFile(dir+"/root/data", data, 0o644), os.WriteFile(dir+"/root/gone", nil, 0o644))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mksquashfs", dir+"/root", dir+"/image", "-quiet", "-no-progress", "-comp", "zstd").CombinedOutput(); err != nil {
				t.Fatalf("mksquashfs (Debian package squashfs-tools): %v\n%s", err, out)
			}
			image, err := os.ReadFile(dir + "/image")
			if err != nil {
				t.Fatal(err)
			}
			w := newWeb(t, image)
			d := w.document(freeLoop(t))
			d.Root = &carry.Root{Entry: "root", Fstype: "squashfs", Init: rootInit, Copy: copied}
			cmd := machineOf(t, d)
			var out, said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &said
			if err := cmd.Run(); err != nil || out.String() != string(data)+"the system is content\n" {
				t.Fatalf("%v, %d bytes\n%s", err, out.Len(), said.Bytes())
			}
		})
	}
}
