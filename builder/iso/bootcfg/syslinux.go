package bootcfg

import (
	"path"
	"strings"
)

// syslinux reads a configuration of SYSLINUX, ISOLINUX and their like. Paths are
// relative to the folder of the first file.
func syslinux(f *files, name string) menu {
	s := &syslinuxReader{files: f, dir: path.Dir(name), labels: map[string]int{}, menu: menu{first: -1}}
	s.read(name, 0)
	s.end()
	for _, label := range []string{s.menuDefault, s.defaultLabel} {
		if i, ok := s.labels[strings.ToLower(label)]; ok && label != "" {
			s.menu.first = i
			break
		}
	}
	return s.menu
}

// syslinuxReader is a reading of SYSLINUX's files.
type syslinuxReader struct {
	*files
	dir          string
	menu         menu
	labels       map[string]int
	append       string // for labels that have none
	defaultLabel string
	menuDefault  string
	label        string
	now          *Choice
	appended     bool
}

func (s *syslinuxReader) read(name string, depth int) {
	if depth > maxDepth {
		return
	}
	for line := range strings.Lines(s.text(name)) {
		s.line(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), name, depth)
	}
}

// line does one line; keywords have no case.
func (s *syslinuxReader) line(line, file string, depth int) {
	key, value, _ := strings.Cut(line, " ")
	value = strings.TrimSpace(value)
	if strings.EqualFold(key, "menu") {
		sub, rest, _ := strings.Cut(value, " ")
		switch rest = strings.TrimSpace(rest); strings.ToLower(sub) {
		case "label":
			if s.now != nil {
				s.now.Title = strings.ReplaceAll(rest, "^", "")
			}
		case "default":
			s.menuDefault = s.label
		case "include":
			name, _, _ := strings.Cut(rest, " ")
			s.read(s.path(name), depth+1)
		}
		return
	}
	switch strings.ToLower(key) {
	case "include":
		s.read(s.path(value), depth+1)
	case "label":
		s.end()
		s.label, s.now, s.appended = value, &Choice{Title: value, File: file}, false
	case "default":
		s.defaultLabel = value
	case "append":
		s.takeAppend(value)
	case "kernel", "linux":
		s.kernel(value)
	case "initrd":
		if s.now != nil {
			s.now.Initrd = s.initrds(value)
		}
	}
}

// kernel takes the program of a label. What has one of these endings is none of Linux.
func (s *syslinuxReader) kernel(value string) {
	name, rest, _ := strings.Cut(value, " ")
	switch strings.ToLower(path.Ext(name)) {
	case ".c32", ".cbt", ".com", ".bss", ".bs", ".0", ".img":
		return
	}
	if s.now != nil && name != "" {
		s.now.Kernel = s.path(name)
		if rest != "" {
			s.takeAppend(strings.TrimSpace(rest))
		}
	}
}

// takeAppend takes a command line; "-" is an empty one.
func (s *syslinuxReader) takeAppend(value string) {
	if value == "-" {
		value = ""
	}
	if s.now == nil {
		s.append = value
		return
	}
	s.now.Cmdline, s.appended = value, true
}

// end finishes a label: "initrd=" of its command line is for SYSLINUX.
func (s *syslinuxReader) end() {
	if s.now == nil {
		return
	}
	if !s.appended {
		s.now.Cmdline = s.append
	}
	var words []string
	for word := range strings.FieldsSeq(s.now.Cmdline) {
		if list, ok := strings.CutPrefix(word, "initrd="); ok {
			s.now.Initrd = s.initrds(list)
		} else if word != "--" && word != "---" {
			words = append(words, word)
		}
	}
	s.now.Cmdline = strings.Join(words, " ")
	before := len(s.menu.choices)
	if s.menu.add(*s.now); len(s.menu.choices) > before {
		s.labels[strings.ToLower(s.label)] = before
	}
	s.now = nil
}

// initrds reads a list with commas.
func (s *syslinuxReader) initrds(list string) []string {
	var all []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, s.path(name))
		}
	}
	return all
}

// path returns the file that is meant.
func (s *syslinuxReader) path(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(s.dir, name)
}
