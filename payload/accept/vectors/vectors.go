// Package vectors reads and writes the corpus of sites in
// payload/accept/testdata/vectors: a good site or one with a single defect in
// each file, and what a machine must make of it. Only tests use it. The corpus
// is for any implementation; the form follows the CCTV vectors of c2sp.org.
//
// [Load] returns all of them, [Vector.Marshal] writes one. The package judges
// nothing: the agent's code is run by this package's tests, the builder's by
// those of builder/site, and gpgv beside both.
//
// # A file
//
// A header, one "key: value" a line:
//
//	comment       why the site is judged so
//	expect        ok, or the agent's reason code for the first thing that is
//	              refused: of the chain of statements, the manifest, the
//	              document, the first entry
//	then          where the chain broke: ok, or the code for the manifest, which
//	              is judged by the last good statement
//	now           the time; "trusted" or "untrusted"
//	medium        the statement that the medium carries
//	terms         product, arch and channel of the medium
//	floor         in JSON, where there is one
//	require_time  "yes" where the medium requires a trusted time
//	machine       in JSON, who asks
//	gpgv          what gpgv makes of the manifest's signatures with the manifest
//	              keys of the statement that is reached: "good" if as many keys
//	              as are needed have signed, "over" if only with keys or
//	              signatures that have expired or were revoked since, by the
//	              real clock, "bad" otherwise, "n/a" if there is nothing to ask
//	              about
//	released      a file that is believed, and its SHA-256; all others must not
//	              be handed out, whatever comes after them
//	boots         what the machine boots, in order
//
// Then the site's files, each under a line "-- NAME --": text that ends with a
// line feed, or "-- NAME (base64) --", or "-- NAME (deflate) --", which is
// base64 of RFC 1951, for what is large.
package vectors

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// Vector is one file of the corpus.
type Vector struct {
	// Name is the file's.
	Name    string
	Comment string
	// Expect and Then are reason codes, or OK.
	Expect, Then string
	Now          clock.Time
	// Medium is the version of the statement that the medium carries.
	Medium  int64
	Terms   accept.Terms
	Machine manifest.Identity
	GPGV    string
	// Released are the files that are believed, in the order of reading.
	Released []Released
	Boots    []string
	// Files are the site's, by name.
	Files map[string][]byte
}

// Released is a file that is believed.
type Released struct {
	Name   string
	SHA256 object.ID
}

// OK stands in Expect and Then where nothing is refused.
const OK = "ok"

const (
	// large is from where on a file is compressed, in bytes. It keeps what a
	// person may want to read readable.
	large = 12 << 10
	// most bounds a file of a site, in bytes: what no reader may take, and some.
	most = 4 << 20
	// width is that of a line of base64, in characters.
	width = 76
)

// Load returns the vectors in a folder, by name.
func Load(dir string) ([]Vector, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var list []Vector
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		v, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		v.Name = strings.TrimSuffix(filepath.Base(name), ".txt")
		list = append(list, v)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no vectors", dir)
	}
	return list, nil
}

// Verdict is the manifest's: Then where there is one, otherwise Expect.
func (v Vector) Verdict() string {
	if v.Then != "" {
		return v.Then
	}
	return v.Expect
}

// Releases tells whether a file is believed.
func (v Vector) Releases(name string) bool {
	return slices.ContainsFunc(v.Released, func(r Released) bool { return r.Name == name })
}

// Marshal returns the file of a vector.
func (v Vector) Marshal() ([]byte, error) {
	var buf bytes.Buffer
	put := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&buf, "%s: %s\n", key, value)
		}
	}
	put("comment", v.Comment)
	put("expect", v.Expect)
	put("then", v.Then)
	put("now", v.Now.Now.UTC().Format(time.RFC3339)+map[bool]string{true: " trusted", false: " untrusted"}[v.Now.Trusted])
	put("medium", strconv.FormatInt(v.Medium, 10))
	put("terms", v.Terms.Product+" "+v.Terms.Arch+" "+v.Terms.Channel)
	floor, err := json.Marshal(v.Terms.Floor)
	if err != nil {
		return nil, err
	}
	if string(floor) != "{}" {
		put("floor", string(floor))
	}
	if v.Terms.RequireTime {
		put("require_time", "yes")
	}
	machine, err := json.Marshal(v.Machine)
	if err != nil {
		return nil, err
	}
	put("machine", string(machine))
	put("gpgv", v.GPGV)
	for _, r := range v.Released {
		put("released", r.Name+" "+r.SHA256.String())
	}
	put("boots", strings.Join(v.Boots, " "))
	for _, name := range slices.Sorted(maps.Keys(v.Files)) {
		if err := putFile(&buf, name, v.Files[name]); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), nil
}

// putFile writes one file of the site.
func putFile(buf *bytes.Buffer, name string, data []byte) error {
	plain := utf8.Valid(data) && !bytes.ContainsAny(data, "\x00\r") && bytes.HasSuffix(data, []byte("\n")) &&
		!bytes.HasPrefix(data, []byte("-- ")) && !bytes.Contains(data, []byte("\n-- "))
	if plain && len(data) < large {
		fmt.Fprintf(buf, "\n-- %s --\n%s", name, data)
		return nil
	}
	coding := "base64"
	if len(data) >= large {
		coding = "deflate"
		var packed bytes.Buffer
		w, err := flate.NewWriter(&packed, flate.BestCompression)
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		data = packed.Bytes()
	}
	fmt.Fprintf(buf, "\n-- %s (%s) --\n", name, coding)
	text := base64.StdEncoding.EncodeToString(data)
	for line := range slices.Chunk([]byte(text), width) {
		buf.Write(append(line[:len(line):len(line)], '\n'))
	}
	return nil
}

// parse reads the file of a vector.
func parse(data []byte) (Vector, error) {
	head, rest, _ := strings.Cut(string(data), "\n-- ")
	v := Vector{Files: map[string][]byte{}}
	for line := range strings.Lines(head) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok && key == "" {
			continue
		}
		if err := v.set(key, value); err != nil {
			return v, fmt.Errorf("%s: %w", key, err)
		}
	}
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "\n-- ")
		title, body, ok := strings.Cut(part, " --\n")
		if !ok {
			return v, fmt.Errorf("file %q: want a line \"-- NAME --\"", title)
		}
		if err := v.add(title, body); err != nil {
			return v, fmt.Errorf("file %q: %w", title, err)
		}
	}
	return v, nil
}

// set takes one line of the header.
func (v *Vector) set(key, value string) (err error) {
	switch key {
	case "comment":
		v.Comment = value
	case "expect":
		v.Expect = value
	case "then":
		v.Then = value
	case "now":
		at, trusted, _ := strings.Cut(value, " ")
		v.Now = clock.Time{Trusted: trusted == "trusted", Source: "the vector"}
		v.Now.Now, err = time.Parse(time.RFC3339, at)
	case "medium":
		v.Medium, err = strconv.ParseInt(value, 10, 64)
	case "terms":
		_, err = fmt.Sscan(value, &v.Terms.Product, &v.Terms.Arch, &v.Terms.Channel)
	case "floor":
		err = json.Unmarshal([]byte(value), &v.Terms.Floor)
	case "require_time":
		v.Terms.RequireTime = value == "yes"
	case "machine":
		err = json.Unmarshal([]byte(value), &v.Machine)
	case "gpgv":
		v.GPGV = value
	case "released":
		name, sum, _ := strings.Cut(value, " ")
		r := Released{Name: name}
		err = json.Unmarshal([]byte(strconv.Quote(sum)), &r.SHA256)
		v.Released = append(v.Released, r)
	case "boots":
		v.Boots = strings.Fields(value)
	default:
		err = errors.New("unknown key")
	}
	return err
}

// add takes one file of the site.
func (v *Vector) add(title, body string) error {
	name, coding, _ := strings.Cut(title, " ")
	if !filepath.IsLocal(name) {
		return errors.New("not a name of a site's file")
	}
	if coding == "" {
		v.Files[name] = []byte(body)
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err == nil && coding == "(deflate)" {
		data, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), most))
	} else if err == nil && coding != "(base64)" {
		err = fmt.Errorf("unknown coding %q", coding)
	}
	v.Files[name] = data
	return err
}
