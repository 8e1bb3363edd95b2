// Package deb822 reads the paragraphs of "Field: value" that Debian's control
// files are made of: apt's .sources, Release, Packages.
//
// [NewReader] and [Reader.Next] are all there is. The reader streams, takes
// bounded memory whatever it is fed, and refuses what two parsers might read
// in two ways: a field that stands twice, a control character, a line that is
// no field. The syntax is deb822(5) with the comments of sources.list(5);
// what a field's value means is the caller's matter.
package deb822

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrSyntax is wrapped by every error about the text itself.
var ErrSyntax = errors.New("not deb822")

// Limits of one paragraph, with the largest found in Debian 12's main index.
const (
	MaxLine      = 1 << 20 // bytes of one line; 75 649 (the Provides of a Rust crate)
	MaxParagraph = 4 << 20 // bytes of one paragraph; some 80 000
	MaxFields    = 256     // fields of one paragraph; some 30
)

// Reader reads paragraph after paragraph.
type Reader struct {
	br   *bufio.Reader
	line int
	p    Paragraph
}

// NewReader returns a Reader of r. It keeps a buffer of [MaxLine] bytes.
func NewReader(r io.Reader) *Reader {
	return &Reader{br: bufio.NewReaderSize(r, MaxLine)}
}

// Paragraph is a set of fields. It lives until the next call of [Reader.Next].
type Paragraph struct {
	// Line is the number of the paragraph's first line, from 1.
	Line int

	text   []byte
	fields []field
}

// field is a range of Paragraph.text: the name up to colon, the value after.
type field struct{ start, colon, end int }

// Get returns the value of the field called name, whatever the case, or "".
// Lines after the first follow a newline each, without the blanks that they
// begin and end with.
func (p *Paragraph) Get(name string) string {
	for _, f := range p.fields {
		if f.colon-f.start == len(name) && bytes.EqualFold(p.text[f.start:f.colon], []byte(name)) {
			return string(p.text[f.colon:f.end])
		}
	}
	return ""
}

// Next returns the next paragraph, or io.EOF after the last.
func (r *Reader) Next() (*Paragraph, error) {
	r.p.text, r.p.fields = r.p.text[:0], r.p.fields[:0]
	for {
		line, err := r.readLine()
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return nil, err
		}
		blank := len(bytes.Trim(line, " \t")) == 0
		switch {
		case blank && len(r.p.fields) > 0:
			return &r.p, nil
		case blank && last:
			return nil, io.EOF
		case blank || line[0] == '#':
		default:
			if err := r.add(line); err != nil {
				return nil, fmt.Errorf("%w: line %d: %w", ErrSyntax, r.line, err)
			}
		}
	}
}

// readLine returns the next line without its end. A last line that has none
// comes with a nil error too.
func (r *Reader) readLine() ([]byte, error) {
	line, err := r.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: line %d: more than %d bytes", ErrSyntax, r.line+1, MaxLine)
	case err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)):
		return nil, err
	}
	r.line++
	return bytes.TrimSuffix(line, []byte("\n")), nil
}

// add appends one line to the paragraph.
func (r *Reader) add(line []byte) error {
	for _, c := range line {
		if isControl(c) {
			return fmt.Errorf("control character %q", c)
		}
	}
	if len(r.p.text)+len(line) > MaxParagraph {
		return fmt.Errorf("paragraph of more than %d bytes", MaxParagraph)
	}
	if line[0] == ' ' || line[0] == '\t' {
		return r.p.continueField(line)
	}
	if len(r.p.fields) == 0 {
		r.p.Line = r.line
	}
	return r.p.addField(line)
}

// continueField adds a line to the field before it.
func (p *Paragraph) continueField(line []byte) error {
	if len(p.fields) == 0 {
		return errors.New("continuation without a field")
	}
	p.text = append(p.text, '\n')
	p.text = append(p.text, bytes.Trim(line, " \t")...)
	p.fields[len(p.fields)-1].end = len(p.text)
	return nil
}

// addField adds the field that line begins.
func (p *Paragraph) addField(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 || name[0] == '-' || slices.ContainsFunc(name, notInName) {
		return fmt.Errorf("%.80q is not a field", line)
	}
	if len(p.fields) == MaxFields {
		return fmt.Errorf("more than %d fields", MaxFields)
	}
	for _, f := range p.fields {
		if f.colon-f.start == len(name) && bytes.EqualFold(p.text[f.start:f.colon], name) {
			return fmt.Errorf("field %q stands twice", name)
		}
	}
	f := field{start: len(p.text)}
	p.text = append(p.text, name...)
	f.colon = len(p.text)
	p.text = append(p.text, bytes.Trim(value, " \t")...)
	f.end = len(p.text)
	p.fields = append(p.fields, f)
	return nil
}

// isControl also holds carriage returns to be no part of a line: no archive
// writes them, and readers differ in what they take them for.
func isControl(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

// notInName tells which characters a field's name may not have (Policy 5.1).
func notInName(c byte) bool { return c <= ' ' || c >= 0x7f }
