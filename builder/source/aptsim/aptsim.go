// Package aptsim is an apt repository that a test makes up: keys, releases,
// indexes and packages are made at run time and served on loopback.
//
// [New] gives a mirror; [Mirror.Suite] a suite of it, to which packages are
// added; nothing is served before [Mirror.Publish]. [Machine] writes the apt
// configuration of a machine that uses such mirrors. Every attack on a
// repository is a change of a line: the hooks of [Suite] change what is served
// one step before it is hashed, signed or sent.
//
// It is for tests only and promises nothing about hostile callers.
package aptsim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"

	"github.com/farboot/farboot/payload/object"
)

// Mirror is one base URL, with the suites below its dists.
type Mirror struct {
	// URL is the base, without a slash at the end.
	URL string
	// Key signs the releases of all suites.
	Key *Key
	// OnRequest, where set, is called before each answer with the path that
	// was asked for, relative to the base. It may publish anew.
	OnRequest func(path string)

	t      testing.TB
	suites map[string]*Suite
	mu     sync.Mutex
	files  map[string][]byte
	asked  []string
}

// Suite is one dists/<name>. All fields may be changed before Publish.
type Suite struct {
	Name string
	// Release holds the fields of the release, without the list of files.
	Release map[string]string
	// Packages by component.
	Packages map[string][]Package
	// Formats of an index that are served and listed: "", ".gz", ".xz". The
	// expanded one is always listed.
	Formats []string

	// EditPackages changes an index before it is compressed and hashed.
	EditPackages func(text string) string
	// EditIndex changes an index, in the format that ends in end, after the
	// release has its hash: what is served is then not what was signed.
	EditIndex func(end string, data []byte) []byte
	// EditRelease changes the text of a release before it is signed.
	EditRelease func(text string) string
	// Sign signs the text of a release; nil means the mirror's key.
	Sign func(text []byte) []byte
	// EditInRelease changes what was signed.
	EditInRelease func(data []byte) []byte
}

// New starts a mirror with a key of its own, which lives until the test ends.
func New(t testing.TB) *Mirror {
	m := &Mirror{Key: NewKey(t, "Archive Key"), t: t, suites: map[string]*Suite{}}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.URL = server.URL + "/debian"
	return m
}

// Debian starts a mirror with the empty suites name, -updates and -security.
func Debian(t testing.TB, name string) *Mirror {
	m := New(t)
	for _, suffix := range []string{"", "-updates", "-security"} {
		m.Suite(name + suffix)
	}
	return m
}

// Suite returns the suite called name. A new one is dated an hour ago, valid
// for a week, and has an empty component main.
func (m *Mirror) Suite(name string) *Suite {
	if s := m.suites[name]; s != nil {
		return s
	}
	date := time.Now().Add(-time.Hour)
	m.suites[name] = &Suite{
		Name: name,
		Release: map[string]string{
			"Origin":                          "Aptsim",
			"Codename":                        name,
			"Architectures":                   "all amd64 i386",
			"No-Support-for-Architecture-all": "Packages",
			"Date":                            Stamp(date),
			"Valid-Until":                     Stamp(date.AddDate(0, 0, 7)),
			"Acquire-By-Hash":                 "yes",
		},
		Packages: map[string][]Package{"main": nil},
		Formats:  []string{".xz", ".gz", ""},
	}
	return m.suites[name]
}

// Stamp writes a time as releases have it.
func Stamp(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC") }

// Add puts packages into the component main.
func (s *Suite) Add(packages ...Package) {
	s.Packages["main"] = append(s.Packages["main"], packages...)
}

// Publish makes what the suites are now what is served. Files that are named
// by their hash, and packages, stay from one Publish to the next.
func (m *Mirror) Publish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	files := map[string][]byte{}
	for path, data := range m.files {
		if strings.Contains(path, "/by-hash/") || strings.HasPrefix(path, "pool/") {
			files[path] = data
		}
	}
	for _, s := range m.suites {
		m.publish(s, files)
	}
	m.files = files
}

// publish adds the files of one suite.
func (m *Mirror) publish(s *Suite, files map[string][]byte) {
	var list strings.Builder
	for component, packages := range s.Packages {
		dir := component + "/binary-amd64/"
		for end, data := range s.index(m.t, packages, files) {
			ref := object.OfBytes(data)
			fmt.Fprintf(&list, " %s %d %sPackages%s\n", ref.SHA256, ref.Size, dir, end)
			if !slices.Contains(s.Formats, end) {
				continue
			}
			if s.EditIndex != nil {
				data = s.EditIndex(end, data)
			}
			files["dists/"+s.Name+"/"+dir+"Packages"+end] = data
			files["dists/"+s.Name+"/"+dir+"by-hash/SHA256/"+ref.SHA256.String()] = data
		}
	}
	files["dists/"+s.Name+"/InRelease"] = s.inRelease(m, list.String())
}

// index returns a component's index by format, and adds its packages to files.
func (s *Suite) index(t testing.TB, packages []Package, files map[string][]byte) map[string][]byte {
	var text strings.Builder
	for _, p := range packages {
		p = p.withDefaults(t)
		name := fmt.Sprintf("pool/%s/%s_%s_%s.deb", s.Name, p.Name, strings.ReplaceAll(p.Version, ":", "%3a"), p.Arch)
		files[name] = p.Deb
		text.WriteString(p.paragraph(name) + "\n")
	}
	plain := text.String()
	if s.EditPackages != nil {
		plain = s.EditPackages(plain)
	}
	index := map[string][]byte{"": []byte(plain)}
	for _, end := range s.Formats {
		index[end] = Compress(t, end, []byte(plain))
	}
	return index
}

// inRelease returns the signed release.
func (s *Suite) inRelease(m *Mirror, list string) []byte {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Release)) {
		fmt.Fprintf(&text, "%s: %s\n", name, s.Release[name])
	}
	release := text.String() + "SHA256:\n" + list
	if s.EditRelease != nil {
		release = s.EditRelease(release)
	}
	sign := m.Key.Sign
	if s.Sign != nil {
		sign = s.Sign
	}
	signed := sign([]byte(release))
	if s.EditInRelease != nil {
		signed = s.EditInRelease(signed)
	}
	return signed
}

// ServeHTTP implements http.Handler.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/debian/")
	if m.OnRequest != nil {
		m.OnRequest(path)
	}
	m.mu.Lock()
	data, ok := m.files[path]
	m.asked = append(m.asked, path)
	m.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(data)))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// Asked returns the paths that were asked for so far, in order.
func (m *Mirror) Asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

// Set serves data at path from now until the next Publish.
func (m *Mirror) Set(path string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[path] = data
}

// File returns what is served at path.
func (m *Mirror) File(path string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[path]
	if !ok {
		m.t.Errorf("aptsim: no file %q", path)
	}
	return data
}

// Machine returns the root folder of a machine of the release name, with the
// mirrors as its sources, in order. Each has its key in a file of its own.
func Machine(t testing.TB, name string, mirrors ...*Mirror) string {
	t.Helper()
	root := t.TempDir()
	var sources strings.Builder
	for i, m := range mirrors {
		key := fmt.Sprintf("usr/share/keyrings/mirror-%d.asc", i)
		WriteFile(t, root, key, m.Key.Public)
		fmt.Fprintf(&sources, "Types: deb\nURIs: %s\nSuites: %s %s-updates %s-security\nComponents: main\nSigned-By: /%s\n\n",
			m.URL, name, name, name, key)
	}
	WriteFile(t, root, "etc/apt/sources.list.d/aptsim.sources", []byte(sources.String()))
	WriteFile(t, root, "etc/os-release", []byte("VERSION_CODENAME="+name+"\n"))
	return root
}

// WriteFile writes a file below root, with the folders that it needs.
func WriteFile(t testing.TB, root, name string, data []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Compress returns data in the format whose files end in end.
func Compress(t testing.TB, end string, data []byte) []byte {
	var out bytes.Buffer
	var err error
	switch end {
	case "":
		return data
	case ".gz":
		w := gzip.NewWriter(&out)
		_, err = w.Write(data)
		err = firstError(err, w.Close())
	case ".xz":
		w, _ := xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&out) // a tenth of the default's time
		_, err = w.Write(data)
		err = firstError(err, w.Close())
	default:
		err = fmt.Errorf("aptsim: unknown format %q", end)
	}
	if err != nil {
		t.Error(err)
	}
	return out.Bytes()
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
