// Package strictjson decodes the JSON that farboot's own formats are written
// in, and nothing that two readers could understand differently.
//
// The one call is [Decode]. On top of encoding/json it refuses: input beyond a
// size, invalid UTF-8, nesting deeper than 16, unknown fields, duplicate keys,
// keys that are not plain lower case (encoding/json would match "Size" and
// "ſize" to "size"), null, and anything after the value.
//
// It does not validate meaning: ranges and references are the caller's.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// ErrMalformed is wrapped by every error of this package.
var ErrMalformed = errors.New("malformed JSON")

// maxDepth bounds nesting. The deepest format, the manifest, has 6.
const maxDepth = 16

// Decode reads exactly one JSON value of at most max bytes into v.
func Decode(data []byte, max int, v any) error {
	if len(data) > max {
		return fmt.Errorf("%w: %d bytes, at most %d are read", ErrMalformed, len(data), max)
	}
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: not valid UTF-8", ErrMalformed)
	}
	if err := scan(data); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: line %d: %w", ErrMalformed, line(data, dec.InputOffset()), err)
	}
	return nil
}

// scan walks the tokens once and refuses what encoding/json would let pass.
func scan(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: line %d: %s", ErrMalformed, line(data, dec.InputOffset()), fmt.Sprintf(format, args...))
	}
	var open []container
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return fail("empty input")
		}
		if err != nil {
			return fail("%v", err)
		}
		if problem := step(&open, tok); problem != "" {
			return fail("%s", problem)
		}
		if len(open) == 0 {
			break
		}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fail("more input after the value")
	}
	return nil
}

// container is one open object or array. keys is nil for an array; wantKey
// tells whether the next token of an object is a key.
type container struct {
	keys    map[string]bool
	wantKey bool
}

// step takes one token and returns what is wrong with it, if anything.
func step(open *[]container, tok json.Token) string {
	switch tok {
	case json.Delim('}'), json.Delim(']'):
		*open = (*open)[:len(*open)-1]
		return ""
	case nil:
		return "null is not a value here; leave the field out"
	}
	if n := len(*open); n > 0 && (*open)[n-1].keys != nil {
		top := &(*open)[n-1]
		if top.wantKey {
			top.wantKey = false
			return top.take(tok.(string))
		}
		top.wantKey = true
	}
	switch tok {
	case json.Delim('{'):
		*open = append(*open, container{keys: map[string]bool{}, wantKey: true})
	case json.Delim('['):
		*open = append(*open, container{})
	}
	if len(*open) > maxDepth {
		return fmt.Sprintf("nested deeper than %d", maxDepth)
	}
	return ""
}

// take records a key of the object and returns what is wrong with it.
func (c *container) take(key string) string {
	for _, r := range key {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.' {
			return fmt.Sprintf("key %q: want lower-case letters, digits, '_', '-' and '.'", key)
		}
	}
	if key == "" || c.keys[key] {
		return fmt.Sprintf("key %q is empty or stands twice", key)
	}
	c.keys[key] = true
	return ""
}

// line returns the line number, from 1, of the byte at offset.
func line(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}
