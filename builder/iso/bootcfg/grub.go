package bootcfg

import (
	"path"
	"strconv"
	"strings"
)

// grub reads a configuration of GRUB 2.
func grub(f *files, name string) menu {
	g := &grubReader{files: f, set: map[string]string{"prefix": path.Dir(name), "root": "iso", "grub_platform": "pc"}, defaultAt: "0"}
	g.read(name, 0)
	m := menu{choices: g.found.choices, first: -1}
	for i, c := range g.found.choices {
		if g.defaultAt == c.Title || g.defaultAt == strconv.Itoa(g.places[i]) {
			m.first = i
			break
		}
	}
	return m
}

// grubReader is a reading of GRUB's files.
type grubReader struct {
	*files
	set       map[string]string
	found     menu
	places    []int // for each choice, its place among the entries at the top
	entries   int   // at the top
	depth     int   // of braces
	defaultAt string
	now       *Choice // the entry that is open
	nowDepth  int
}

// read reads one file, and those that it includes.
func (g *grubReader) read(name string, depth int) {
	if depth > maxDepth {
		return
	}
	for command := range commands(g.text(name)) {
		g.command(command, name, depth)
	}
}

// command does one command.
func (g *grubReader) command(words []word, file string, depth int) {
	for len(words) > 0 {
		switch words[0].text {
		case "if", "then", "else", "elif", "while", "do", "!": // what follows is a command
			words = words[1:]
			continue
		}
		break
	}
	if len(words) == 0 {
		return
	}
	switch name := g.expand(words[0]).text; strings.TrimSuffix(strings.TrimSuffix(name, "efi"), "16") {
	case "{":
		g.depth++
	case "}":
		g.close()
	case "menuentry":
		g.open(words, file)
	case "submenu":
		g.entries++
	case "set":
		if key, value, ok := strings.Cut(g.join(words[1:]), "="); ok {
			g.assign(key, value)
		}
	case "source", "configfile", ".":
		if len(words) > 1 {
			g.read(g.path(words[1]), depth+1)
		}
	case "linux", "kernel":
		if g.now != nil && len(words) > 1 {
			g.now.Kernel, g.now.Cmdline = g.path(words[1]), g.line(words[2:])
		}
	case "initrd":
		if g.now != nil {
			g.now.Initrd = nil
			for _, w := range words[1:] {
				g.now.Initrd = append(g.now.Initrd, g.path(w))
			}
		}
	}
}

// assign sets a variable. The first value stays: what comes later is, as a rule, for
// machines of another kind.
func (g *grubReader) assign(key, value string) {
	if key == "default" {
		g.defaultAt = value
	}
	if _, have := g.set[key]; !have {
		g.set[key] = value
	}
}

// open begins an entry.
func (g *grubReader) open(words []word, file string) {
	if g.now != nil {
		return
	}
	g.now, g.nowDepth = &Choice{File: file}, g.depth
	if len(words) > 1 {
		g.now.Title = g.expand(words[1]).text
	}
}

// close ends a block, and with it the entry that it belongs to.
func (g *grubReader) close() {
	g.depth--
	if g.now == nil || g.depth > g.nowDepth {
		return
	}
	before := len(g.found.choices)
	g.found.add(*g.now)
	if len(g.found.choices) > before {
		g.places = append(g.places, g.entries)
	}
	if g.nowDepth == 0 {
		g.entries++
	}
	g.now = nil
}

// path returns the file that a word names: "(cd0)/live/vmlinuz" is /live/vmlinuz.
func (g *grubReader) path(w word) string {
	name := g.expand(w).text
	if strings.HasPrefix(name, "(") {
		_, name, _ = strings.Cut(name, ")")
	}
	return path.Join("/", name)
}

// line returns the words of a kernel's command line.
func (g *grubReader) line(words []word) string {
	var out []string
	for _, w := range words {
		x := g.expand(w)
		if x.unset || x.text == "" || x.text == "--" || x.text == "---" {
			continue
		}
		out = append(out, quoted(x.text))
	}
	return strings.Join(out, " ")
}

// quoted returns a word as the kernel reads it as one.
func quoted(s string) string {
	key, value, ok := strings.Cut(s, "=")
	if !strings.ContainsAny(s, " \t") || strings.Contains(s, `"`) {
		return s
	}
	if ok && !strings.ContainsAny(key, " \t") {
		return key + `="` + value + `"`
	}
	return s // several words in one variable
}

// join returns words with their variables in them.
func (g *grubReader) join(words []word) string {
	var out []string
	for _, w := range words {
		out = append(out, g.expand(w).text)
	}
	return strings.Join(out, " ")
}

// expanded is a word with its variables in it.
type expanded struct {
	text  string
	unset bool // one of them is not set
}

// expand puts variables into a word.
func (g *grubReader) expand(w word) expanded {
	var x expanded
	for _, p := range w.parts {
		if p.variable == "" {
			x.text += p.text
			continue
		}
		value, ok := g.set[p.variable]
		x.unset = x.unset || !ok
		if x.text += value; len(x.text) > maxWord { // variables of variables
			return expanded{unset: true}
		}
	}
	return x
}
