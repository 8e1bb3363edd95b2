package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/source/apt/deb822"
)

// source is one URI with one suite, as the machine's configuration has it.
type source struct {
	from  string // file and line, for messages
	uri   string // without a slash at the end
	suite string
	// signedBy lists keyring files and fingerprints; empty where the source
	// leaves it to the machine's trusted keys.
	signedBy []string
	// key is an armored key that stands in the configuration itself.
	key string
}

// machineSources reads sources.list and sources.list.d of the machine whose
// root folder is root, in apt's order, after sources.list(5). Sources that are
// disabled, of source code or for other architectures are left out.
func machineSources(root string) ([]source, error) {
	files, err := sourceFiles(filepath.Join(root, "etc/apt"))
	if err != nil {
		return nil, err
	}
	var all []source
	for _, file := range files {
		text, err := readCapped(file, maxConfFile)
		if err != nil {
			return nil, err
		}
		parse := parseList
		if strings.HasSuffix(file, ".sources") {
			parse = parseSources
		}
		sources, err := parse(file, text)
		if err != nil {
			return nil, err
		}
		all = append(all, sources...)
	}
	return all, nil
}

// confName is what the name of a file in sources.list.d has to be like for
// apt to read it.
var confName = regexp.MustCompile(`^[A-Za-z0-9_.-]+\.(list|sources)$`)

// sourceFiles lists the files that hold sources.
func sourceFiles(dir string) ([]string, error) {
	var files []string
	main := filepath.Join(dir, "sources.list")
	if _, err := os.Stat(main); err == nil {
		files = append(files, main)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "sources.list.d")) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if confName.MatchString(e.Name()) {
			files = append(files, filepath.Join(dir, "sources.list.d", e.Name()))
		}
	}
	return files, nil
}

// parseList reads the one-line format: deb [option=value ...] uri suite component ...
func parseList(file string, text []byte) ([]source, error) {
	var sources []source
	n := 0
	for line := range bytes.Lines(text) {
		n++
		from := fmt.Sprintf("%s:%d", file, n)
		s, err := parseLine(from, string(line))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		if s != nil {
			sources = append(sources, *s)
		}
	}
	return sources, nil
}

// parseLine reads one line, and returns nil where it holds no source for us.
func parseLine(from, line string) (*source, error) {
	line, _, _ = strings.Cut(line, "#")
	words := splitWords(line)
	if len(words) == 0 || words[0] == "deb-src" {
		return nil, nil
	}
	if words[0] != "deb" {
		return nil, fmt.Errorf("%q is not a type of source", words[0])
	}
	words = words[1:]
	options := map[string][]string{}
	if len(words) > 0 && strings.HasPrefix(words[0], "[") {
		options = parseOptions(words[0])
		words = words[1:]
	}
	if len(words) < 2 {
		return nil, errors.New("want deb [options] URI suite components")
	}
	s := source{from: from, uri: strings.TrimRight(words[0], "/"), suite: words[1], signedBy: options["signed-by"]}
	if !forAMD64(options["arch"]) {
		return nil, nil
	}
	return &s, nil
}

// splitWords splits at blanks, except inside of brackets: those hold options,
// or the label of a CD.
func splitWords(line string) []string {
	depth := 0
	return strings.FieldsFunc(line, func(c rune) bool {
		switch c {
		case '[':
			depth++
		case ']':
			depth--
		}
		return depth <= 0 && strings.ContainsRune(" \t\r\n", c)
	})
}

// parseOptions reads "[arch=amd64,arm64 signed-by=/a.gpg]".
func parseOptions(word string) map[string][]string {
	options := map[string][]string{}
	for _, option := range strings.Fields(strings.Trim(word, "[]")) {
		name, value, _ := strings.Cut(option, "=")
		options[strings.ToLower(name)] = strings.Split(value, ",")
	}
	return options
}

// parseSources reads the deb822 format.
func parseSources(file string, text []byte) ([]source, error) {
	var sources []source
	r := deb822.NewReader(bytes.NewReader(text))
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return sources, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		from := fmt.Sprintf("%s:%d", file, p.Line)
		sources = append(sources, paragraphSources(from, p)...)
	}
}

// paragraphSources returns the sources of one paragraph: each URI with each
// suite.
func paragraphSources(from string, p *deb822.Paragraph) []source {
	types := strings.Fields(p.Get("Types"))
	if !slices.Contains(types, "deb") || isFalse(p.Get("Enabled")) || !forAMD64(strings.Fields(p.Get("Architectures"))) {
		return nil
	}
	s := source{from: from}
	if signedBy := p.Get("Signed-By"); strings.Contains(signedBy, "-----BEGIN") {
		s.key = strings.ReplaceAll(signedBy, "\n.\n", "\n\n") // deb822 writes an empty line as a dot
	} else {
		s.signedBy = strings.FieldsFunc(signedBy, func(c rune) bool { return strings.ContainsRune(" \t\n,", c) })
	}
	var sources []source
	for _, uri := range strings.Fields(p.Get("URIs")) {
		s.uri = strings.TrimRight(uri, "/")
		for _, s.suite = range strings.Fields(p.Get("Suites")) {
			sources = append(sources, s)
		}
	}
	return sources
}

// mirrorList is how a URI begins that names a file with URIs, as the images
// that Debian makes for clouds have it (apt-transport-mirror(1)).
const mirrorList = "mirror+file:"

func isMirrorList(uri string) bool { return strings.HasPrefix(uri, mirrorList) }

// uris returns the mirrors that the source stands for: those of its mirror
// list, one a line before what is said about it, or itself.
func (s source) uris(root string) ([]string, error) {
	if !isMirrorList(s.uri) {
		return []string{s.uri}, nil
	}
	name := filepath.Join(root, strings.TrimPrefix(s.uri, mirrorList))
	text, err := readCapped(name, maxConfFile)
	if err != nil {
		return nil, fmt.Errorf("%s: mirror list: %w", s.from, err)
	}
	var uris []string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) > 0 && isHTTP(words[0]) {
			uris = append(uris, strings.TrimRight(words[0], "/"))
		}
	}
	if len(uris) == 0 {
		return nil, fmt.Errorf("%s: mirror list %s: no http or https URI", s.from, name)
	}
	return uris, nil
}

// forAMD64 tells whether a list of architectures, where there is one, holds ours.
func forAMD64(list []string) bool { return len(list) == 0 || slices.Contains(list, "amd64") }

// isFalse knows the words that apt takes for no (apt-pkg/contrib/strutl.cc, StringToBool).
func isFalse(s string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(s))
}

// codename returns VERSION_CODENAME of the machine whose root folder is root,
// or "" where it has none.
func codename(root string) string {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		text, err := readCapped(filepath.Join(root, name), maxConfFile)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "VERSION_CODENAME="); ok {
				return strings.Trim(value, " \t\r\n\"'")
			}
		}
		return ""
	}
	return ""
}

// readCapped reads a file of at most max bytes.
func readCapped(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAllCapped(f, name, max)
}

// readAllCapped reads r, called name in messages, which holds at most max bytes.
func readAllCapped(r io.Reader, name string, max int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(data)) > max {
		return nil, fmt.Errorf("%s: more than %d bytes", name, max)
	}
	return data, err
}
