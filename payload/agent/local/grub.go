package local

import (
	"fmt"
	"strconv"
	"strings"
)

// grubEntry is an entry or a submenu of grub.cfg.
type grubEntry struct {
	entry
	// place, id and title each name it, from the outer menu on, with ">"
	// between, as the variable "default" does.
	place, id, title string
	// uuid is what "search --fs-uuid" looked for, or "".
	uuid string
}

// grubMenu collects what matters of grub.cfg.
type grubMenu struct {
	lexer
	entries  []grubEntry
	fallback string // the last default that was set to something
}

// parseGrub reads grub.cfg as grub-mkconfig of Debian, Ubuntu, Fedora and SUSE
// writes it, with the variables of grubenv. It is no shell: both branches of an
// "if" are read, functions are passed over, and all commands but menuentry,
// submenu, linux, initrd, search and set are ignored. The entries are those that
// start a Linux kernel, the default one first. Those that lie on another file
// system than the one with this uuid are left out: their own disk has them, too.
func parseGrub(text, uuid string, env map[string]string) ([]entry, error) {
	vars := map[string]string{"menuentry_id_option": "--id"}
	for name, value := range env {
		if name != "next_entry" { // meant for one start of GRUB only
			vars[name] = value
		}
	}
	m := &grubMenu{lexer: lexer{text: text, vars: vars}}
	if err := m.block(nil, 0); err != nil {
		return nil, err
	}
	var first, rest []entry
	for _, e := range m.entries {
		switch {
		case e.Kernel == "" || e.uuid != "" && uuid != "" && !strings.EqualFold(e.uuid, uuid):
		case len(first) == 0 && m.isDefault(e):
			first = append(first, e.entry)
		default:
			rest = append(rest, e.entry)
		}
	}
	return append(first, rest...), nil
}

// isDefault tells whether e is what would start by itself. A number that names a
// submenu means the first entry in it.
func (m *grubMenu) isDefault(e grubEntry) bool {
	want := m.fallback
	if want == "" {
		want = "0"
	}
	for _, name := range []string{e.place, e.id, e.title} {
		if name == want || strings.HasPrefix(name, want+">") {
			return true
		}
	}
	return false
}

// Bounds of grub.cfg: what people have is three deep and some ten entries long.
const (
	maxDepth   = 8
	maxEntries = 256
)

// block reads commands up to the closing brace, or to the end at depth 0. within
// is the menu entry or submenu that they belong to.
func (m *grubMenu) block(within *grubEntry, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: blocks are more than %d deep", errSyntax, maxDepth)
	}
	count := 0
	for {
		words, err := m.command()
		if err != nil {
			return err
		}
		if len(words) == 0 {
			if depth > 0 {
				return fmt.Errorf("%w: a block does not end", errSyntax)
			}
			return nil
		}
		if words = plain(words); len(words) == 0 {
			continue
		}
		opens := words[len(words)-1] == word{"{", true}
		switch name := words[0].text; {
		case words[0] == word{"}", true}:
			if depth == 0 {
				return fmt.Errorf("%w: a brace at byte %d closes nothing", errSyntax, m.pos)
			}
			return nil
		case opens && (name == "menuentry" || name == "submenu"):
			err = m.menu(words, within, count, depth)
			count++
		case opens:
			err = m.skip(depth)
		case name == "set":
			m.set(words[1:], within == nil)
		case within != nil:
			within.command(words)
		}
		if err != nil {
			return err
		}
	}
}

// plain takes off what may stand before a command on its line.
func plain(words []word) []word {
	for len(words) > 0 && words[0].bare && (words[0].text == "then" || words[0].text == "else" || words[0].text == "do") {
		words = words[1:]
	}
	return words
}

// skip passes over a function or another block.
func (m *grubMenu) skip(depth int) error {
	sub := &grubMenu{lexer: m.lexer}
	sub.vars = map[string]string{}
	err := sub.block(nil, depth+1)
	m.pos = sub.pos
	return err
}

// menu reads an entry or a submenu, the count-th of its menu.
func (m *grubMenu) menu(words []word, within *grubEntry, count, depth int) error {
	if len(m.entries) == maxEntries {
		return fmt.Errorf("%w: more than %d entries", errSyntax, maxEntries)
	}
	e := grubEntry{place: strconv.Itoa(count)}
	e.title, e.id = nameOf(words[1 : len(words)-1])
	e.Title = e.title
	if within != nil {
		e.place, e.title = within.place+">"+e.place, within.title+">"+e.title
		e.id = within.id + ">" + e.id
	}
	i := len(m.entries)
	m.entries = append(m.entries, e)
	err := m.block(&e, depth+1)
	m.entries[i] = e
	return err
}

// nameOf returns the title and the id among an entry's arguments.
func nameOf(args []word) (title, id string) {
	for i := 0; i < len(args); i++ {
		switch text := args[i].text; {
		case text == "--id" && i+1 < len(args):
			i++
			id = args[i].text
		case strings.HasPrefix(text, "--id="):
			id = strings.TrimPrefix(text, "--id=")
		case text == "--class" || text == "--users" || text == "--hotkey":
			i++
		case strings.HasPrefix(text, "--"):
		case title == "":
			title = text
		}
	}
	return title, id
}

// set keeps a variable. What a menu entry sets is none of the others' business,
// but one that has a value keeps it: of two branches the last one that says
// something wins.
func (m *grubMenu) set(args []word, global bool) {
	if len(args) == 0 {
		return
	}
	name, value, ok := strings.Cut(args[0].text, "=")
	switch {
	case !ok || !global || len(m.vars) > maxEntries || name == "menuentry_id_option":
	case name == "default":
		if value != "" {
			m.fallback = value
		}
	case value != "":
		m.vars[name] = value
	}
}

// command takes one command of an entry.
func (e *grubEntry) command(words []word) {
	var args []string
	for _, w := range words[1:] {
		if w.text != "" { // a variable that is not set leaves no word
			args = append(args, w.text)
		}
	}
	switch words[0].text {
	case "linux", "linux16", "linuxefi":
		if len(args) > 0 {
			e.Kernel, e.Cmdline = grubPath(args[0]), cmdline(args[1:])
		}
	case "initrd", "initrd16", "initrdefi":
		e.Initrds = nil
		for _, arg := range args {
			e.Initrds = append(e.Initrds, grubPath(arg))
		}
	case "search":
		if uuid, ok := searched(args); ok {
			e.uuid = uuid
		}
	case "search.fs_uuid":
		if len(args) > 0 {
			e.uuid = args[0]
		}
	}
}

// searched returns the UUID that the arguments of "search" look for.
func searched(args []string) (uuid string, ok bool) {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--fs-uuid" || arg == "-u":
			ok = true
		case arg == "--set" || arg == "-s" || arg == "--hint":
			if i+2 < len(args) { // the UUID itself is always there
				i++
			}
		case strings.HasPrefix(arg, "-"):
		default:
			uuid = arg
		}
	}
	return uuid, ok && uuid != ""
}

// grubPath takes the device off a path: "($root)/vmlinuz".
func grubPath(path string) string {
	if strings.HasPrefix(path, "(") {
		if _, rest, ok := strings.Cut(path, ")"); ok {
			return rest
		}
	}
	return path
}

// cmdline joins words as GRUB does (grub_create_loader_cmdline): those with
// blanks are quoted for the kernel.
func cmdline(args []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = escape.Replace(arg)
		if strings.ContainsRune(arg, ' ') {
			quoted[i] = `"` + quoted[i] + `"`
		}
	}
	return strings.Join(quoted, " ")
}
