package deb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The frame of a package, after deb(5) and ar(5).
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arHeaderEnd  = "`\n"
	// debVersion is the content of debian-binary. The format allows for 2.1
	// and more lines; none has been seen since 1995.
	debVersion = "2.0\n"
	// maxMembers counts three and a few signatures ("_gpgorigin").
	maxMembers = 16
)

// member is one file of the ar archive. It is read by ReadAt alone: several may
// read it at a time.
type member struct {
	name string
	*io.SectionReader
}

// readFrame finds control.tar and data.tar. It demands the order that dpkg
// demands: debian-binary, control.tar, data.tar. Members whose name starts
// with "_" may stand anywhere behind the first; others are refused.
func readFrame(r io.ReaderAt, size int64) (control, data member, err error) {
	members, err := readAr(r, size)
	if err != nil {
		return member{}, member{}, err
	}
	if len(members) < 3 || members[0].name != "debian-binary" {
		return member{}, member{}, malformed("want debian-binary, control.tar and data.tar")
	}
	version := make([]byte, len(debVersion))
	if n, err := members[0].ReadAt(version, 0); n < len(version) || members[0].Size() != int64(n) || string(version) != debVersion {
		return member{}, member{}, malformedBy(err, "debian-binary: %d bytes, want version %q", members[0].Size(), debVersion)
	}
	for _, m := range members[1:] {
		base, _, _ := strings.Cut(m.name, ".tar")
		switch {
		case strings.HasPrefix(m.name, "_"):
		case base == "control" && control.SectionReader == nil && data.SectionReader == nil:
			control = m
		case base == "data" && control.SectionReader != nil && data.SectionReader == nil:
			data = m
		default:
			return member{}, member{}, malformed("unexpected member %q", m.name)
		}
	}
	if data.SectionReader == nil {
		return member{}, member{}, malformed("no data.tar")
	}
	return control, data, nil
}

// readAr lists the members of the ar archive r.
func readAr(r io.ReaderAt, size int64) ([]member, error) {
	magic := make([]byte, len(arMagic))
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != arMagic {
		return nil, malformedBy(err, "not an ar archive")
	}
	var members []member
	for at := int64(len(arMagic)); at < size; {
		if len(members) == maxMembers {
			return nil, malformed("more than %d members", maxMembers)
		}
		m, next, err := readMember(r, at, size)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
		at = next
	}
	return members, nil
}

// readMember reads the member whose header is at offset at, and returns the
// offset of the one behind it.
func readMember(r io.ReaderAt, at, size int64) (member, int64, error) {
	hdr := make([]byte, arHeaderSize)
	if size-at < arHeaderSize {
		return member{}, 0, malformed("member header at %d is cut off", at)
	}
	if _, err := r.ReadAt(hdr, at); err != nil {
		return member{}, 0, malformedBy(err, "member header at %d", at)
	}
	if string(hdr[58:]) != arHeaderEnd {
		return member{}, 0, malformed("member header at %d has no end mark", at)
	}
	// dpkg accepts the System V habit of a slash behind the name.
	name := strings.TrimSuffix(strings.TrimRight(string(hdr[:16]), " "), "/")
	length, err := strconv.ParseUint(strings.TrimRight(string(hdr[48:58]), " "), 10, 62)
	if err != nil {
		return member{}, 0, malformed("member %q has no valid size", name)
	}
	body := at + arHeaderSize
	if int64(length) > size-body {
		return member{}, 0, malformed("member %q: %d bytes announced, %d there", name, length, size-body)
	}
	end := body + int64(length)
	if length%2 == 1 {
		pad := make([]byte, 1)
		if _, err := r.ReadAt(pad, end); err != nil || end >= size || pad[0] != '\n' {
			return member{}, 0, malformedBy(err, "member %q is not padded", name)
		}
		end++
	}
	return member{name, io.NewSectionReader(r, body, int64(length))}, end, nil
}

// malformed returns an error that wraps [ErrMalformed].
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// malformedBy is malformed with a cause, where there is one. It says only once
// what class the error is of.
func malformedBy(cause error, format string, args ...any) error {
	if cause == nil {
		return malformed(format, args...)
	}
	if errors.Is(cause, ErrMalformed) {
		return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), cause)
	}
	return fmt.Errorf("%w: %s: %w", ErrMalformed, fmt.Sprintf(format, args...), cause)
}
