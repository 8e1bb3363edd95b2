package apt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/source/aptsim"
	"github.com/farboot/farboot/payload/object"
)

// newClient returns a client on plain net/http. What it fetches is not
// verified: whoever uses the file must do so.
func newClient(t *testing.T) *Client {
	t.Helper()
	dir := t.TempDir()
	return &Client{
		Document: get,
		Fetch: func(ctx context.Context, urls []string, ref object.Ref) (string, error) {
			var data []byte
			var err error
			for _, url := range urls {
				if data, err = get(ctx, url, 1<<30); err == nil {
					break
				}
			}
			if err != nil {
				return "", err
			}
			f, err := os.CreateTemp(dir, "")
			if err != nil {
				return "", err
			}
			defer f.Close()
			_, err = f.Write(data)
			return f.Name(), err
		},
	}
}

func get(ctx context.Context, url string, max int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return readAllCapped(resp.Body, url, max)
}

// open reads bookworm from mirrors, which are tried in order.
func open(t *testing.T, c *Client, mirrors ...*aptsim.Mirror) (*Index, error) {
	t.Helper()
	cfg, err := Configure(bookworm, "", aptsim.Machine(t, "bookworm", mirrors...))
	if err != nil {
		t.Fatal(err)
	}
	return c.Open(t.Context(), cfg)
}

// mustOpen is open for mirrors that nothing is wrong with.
func mustOpen(t *testing.T, mirrors ...*aptsim.Mirror) *Index {
	t.Helper()
	x, err := open(t, newClient(t), mirrors...)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// gpg runs real gpg in a home of its own, and returns its output.
type gpg struct {
	t    *testing.T
	home string
}

func newGPG(t *testing.T) *gpg {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Fatal("gpg is missing (Debian package gnupg)")
	}
	// Sockets of gpg-agent must have short names, so not t.TempDir.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	g := &gpg{t, home}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
		os.RemoveAll(home)
	})
	return g
}

func (g *gpg) run(input []byte, args ...string) []byte {
	g.t.Helper()
	cmd := exec.Command("gpg", append([]string{
		"--homedir", g.home, "--batch", "--no-tty", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", "",
	}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

// key makes a key. It signs with the further arguments that are given.
func (g *gpg) key(name, algorithm string, args ...string) *aptsim.Key {
	g.t.Helper()
	g.run(nil, "--quick-gen-key", name, algorithm, "sign", "never")
	return &aptsim.Key{
		Public: g.run(nil, "--armor", "--export", name),
		Sign: func(text []byte) []byte {
			return g.run(text, append(args, "--local-user", name, "--clear-sign", "--output", "-", "-")...)
		},
	}
}

// asFile writes data to a file of the test's.
func asFile(t *testing.T, r io.Reader) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
