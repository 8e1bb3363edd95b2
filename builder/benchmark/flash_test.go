//go:build bench

package benchmark

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash"
)

// flashSize is what the image has, unpacked: half of it is noise, and half zeros.
const flashSize = 512 << 20

// TestFlash writes an image that a server on this computer has to a file on its disk,
// in this process, beside what people do by hand. By hand nothing is checked before
// it is written; the last contender at least reads back what it wrote.
func TestFlash(t *testing.T) {
	need(t, "curl", "curl")
	need(t, "zstd", "zstd")
	dir := t.TempDir()
	packed, index := flashImage(t, dir)
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	disk := filepath.Join(dir, "disk")
	url := server.URL + "/" + filepath.Base(packed)
	fresh := func() {
		if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, flashSize)); err != nil {
			t.Fatal(err)
		}
	}
	byHand := fmt.Sprintf("curl -sS %s | zstd -dq | dd of=%s bs=1M conv=notrunc,fsync status=none", url, disk)
	costs := race(t, []contender{
		{"farboot flash: checked, written, read back", "", 5, fresh, flashRun(t, url, disk, index)},
		{"curl | zstd -d | dd", "", 5, fresh, shell(t, "%s", byHand)},
		{"the same, and sha256sum of the disk", "", 5, fresh, shell(t, "%s; sha256sum %s", byHand, disk)},
	})
	out := table{title: fmt.Sprintf("Flash: an image of %s, %s packed by zstd, to a file on this computer's disk", megabytes(flashSize), megabytes(size(t, packed)))}
	out.row("", "wall", "CPU", "rate", "of dd")
	for i, name := range []string{"farboot flash: checked, written, read back", "curl | zstd -d | dd", "the same, and sha256sum of the disk"} {
		out.row(name, seconds(costs[i].wall), seconds(costs[i].cpu), rate(flashSize, costs[i].wall), ratio(costs[i].wall, costs[1].wall))
	}
	out.print()
}

// flashImage makes the image and its index.
func flashImage(t *testing.T, dir string) (packed string, index *caibx.Index) {
	t.Helper()
	image, noise := filepath.Join(dir, "image"), rand.NewChaCha8([32]byte{})
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for range flashSize >> 20 {
		_, _ = noise.Read(block[:len(block)/2]) // never fails
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = f.Seek(0, io.SeekStart); err == nil {
		index, err = caibx.Make(f, caibx.DefaultChunk)
	}
	if err != nil {
		t.Fatal(err)
	}
	shell(t, "zstd -q --rm %s -o %[1]s.zst", image)()
	return image + ".zst", index
}

// flashRun returns a run of farboot's own writing.
func flashRun(t *testing.T, url, disk string, index *caibx.Index) func() time.Duration {
	return func() time.Duration {
		t.Helper()
		d, err := flash.Open(disk)
		if err != nil {
			t.Fatal(err)
		}
		_, err = flash.Run(context.Background(), d, flash.Job{Index: index, Format: "zst", Source: webFile(url), Plain: true, Progress: func(flash.Progress) {}})
		if err := errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
		return 0
	}
}

// webFile is a file of a web server.
type webFile string

// Open implements flash.Source.
func (u webFile) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, string(u), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusPartialContent {
		answer.Body.Close()
		return nil, fmt.Errorf("%s: %s", u, answer.Status)
	}
	return answer.Body, nil
}

// Wrong implements flash.Source.
func (webFile) Wrong(error) bool { return false }
