package recipe

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"gopkg.in/yaml.v3"
)

// parseYAML returns the root mapping of the one document in raw.
func parseYAML(path string, raw []byte) (*yaml.Node, error) {
	if !utf8.Valid(raw) {
		return nil, &Error{Path: path, Line: 1, Msg: "not UTF-8 text"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, &Error{Path: path, Line: 1, Msg: "the recipe is empty", Hint: `start with "kind: medium" or "kind: site"`}
	} else if err != nil {
		return nil, yamlError(path, err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, &Error{Path: path, Line: second.Line, Msg: "a second document; a file holds one recipe", Hint: `remove the "---" line`}
	case !errors.Is(err, io.EOF):
		return nil, yamlError(path, err)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, &Error{Path: path, Line: root.Line, Msg: `want "key: value" lines`}
	}
	return root, nil
}

// decoder fills the recipe types from YAML nodes and remembers where each
// field stood.
type decoder struct {
	path string
	// lines maps a field's place ("menu[0].title") to its line.
	lines map[string]int
}

// fail returns an error at a node.
func (d *decoder) fail(n *yaml.Node, field, hint, format string, args ...any) error {
	return &Error{Path: d.path, Line: n.Line, Field: field, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// kind returns the recipe's kind, which decides the type of all the rest.
func (d *decoder) kind(root *yaml.Node) (string, error) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "kind" {
			continue
		}
		value := root.Content[i+1]
		kinds := []string{KindMedium, KindSite}
		for _, k := range kinds {
			if value.Value == k && value.Kind == yaml.ScalarNode {
				return k, nil
			}
		}
		return "", d.fail(value, "kind", didYouMean(value.Value, kinds), "%q is neither %q nor %q", value.Value, KindMedium, KindSite)
	}
	return "", d.fail(root, "", `start with "kind: medium" or "kind: site"`, "the key \"kind\" is missing")
}

// decode fills the value that target points to.
func (d *decoder) decode(n *yaml.Node, field string, target any) error {
	return d.value(n, field, reflect.ValueOf(target).Elem())
}

// value decodes any node into v.
func (d *decoder) value(n *yaml.Node, field string, v reflect.Value) error {
	d.lines[field] = n.Line
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return d.fail(n, field, "write the value out", "anchors and aliases are not used in recipes")
	case n.Style&yaml.TaggedStyle != 0:
		return d.fail(n, field, "remove the tag", "explicit tag %q", n.Tag)
	case n.Tag == "!!null":
		return d.fail(n, field, "remove the key, or give it a value; {} stands for \"all defaults\"", "no value")
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return d.parsed(n, field, text)
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(n, field, v.Elem())
	case reflect.Struct:
		return d.structure(n, field, v)
	case reflect.Map:
		return d.mapping(n, field, v)
	case reflect.Slice:
		return d.list(n, field, v)
	case reflect.String:
		return d.text(n, field, v)
	case reflect.Int:
		return d.number(n, field, v)
	case reflect.Bool:
		return d.boolean(n, field, v)
	}
	panic("recipe: type " + v.Type().String() + " has no YAML form")
}

// structure decodes a mapping whose keys are the fields of v.
func (d *decoder) structure(n *yaml.Node, field string, v reflect.Value) error {
	if v.Type() == reflect.TypeFor[Secret]() && n.Kind != yaml.MappingNode { // what stands there is not to be printed
		return d.fail(n, field, "{file: PATH} or {env: NAME}", "no password stands in a recipe")
	}
	fields := fieldsOf(v)
	if line := v.FieldByName("Line"); line.IsValid() {
		line.SetInt(int64(n.Line))
	}
	return d.pairs(n, field, func(key, value *yaml.Node, at string) error {
		target, known := fields[key.Value]
		if !known {
			return d.fail(key, at, didYouMean(key.Value, keysOf(fields)), "unknown key")
		}
		return d.value(value, at, target)
	})
}

// mapping decodes a mapping with free keys.
func (d *decoder) mapping(n *yaml.Node, field string, v reflect.Value) error {
	v.Set(reflect.MakeMap(v.Type()))
	return d.pairs(n, field, func(key, value *yaml.Node, at string) error {
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(value, at, elem); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key.Value), elem)
		return nil
	})
}

// pairs calls f for each key of a mapping, which must all be different.
func (d *decoder) pairs(n *yaml.Node, field string, f func(key, value *yaml.Node, at string) error) error {
	if n.Kind != yaml.MappingNode {
		return d.fail(n, field, "", "want \"key: value\" pairs, have %s", describe(n))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Anchor != "" {
			return d.fail(key, field, "", "a key must be a plain word")
		}
		at := strings.TrimPrefix(field+"."+key.Value, ".")
		if line, twice := seen[key.Value]; twice {
			return d.fail(key, at, "", "the key stands twice, first in line %d", line)
		}
		seen[key.Value] = key.Line
		if err := f(key, n.Content[i+1], at); err != nil {
			return err
		}
	}
	return nil
}

// list decodes a sequence.
func (d *decoder) list(n *yaml.Node, field string, v reflect.Value) error {
	if n.Kind != yaml.SequenceNode {
		return d.fail(n, field, "write it as a list: ["+n.Value+"]", "want a list, have %s", describe(n))
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		if err := d.value(item, fmt.Sprintf("%s[%d]", field, i), v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// text decodes a scalar by its letters: 1.10 stays "1.10".
func (d *decoder) text(n *yaml.Node, field string, v reflect.Value) error {
	if n.Kind != yaml.ScalarNode {
		return d.fail(n, field, "", "want text, have %s", describe(n))
	}
	_, lines := v.Interface().(Text)
	for _, r := range n.Value {
		if !unicode.IsPrint(r) && !(lines && (r == '\n' || r == '\t')) {
			return d.fail(n, field, "", "character %U does not belong into a recipe's text", r)
		}
	}
	v.SetString(n.Value)
	return nil
}

// parsed decodes a scalar that reads itself: an address, a size. Its own error
// names a function of Go and is not for people.
func (d *decoder) parsed(n *yaml.Node, field string, to encoding.TextUnmarshaler) error {
	var s string
	if err := d.text(n, field, reflect.ValueOf(&s).Elem()); err != nil {
		return err
	}
	if s == "" || to.UnmarshalText([]byte(s)) != nil {
		what, hint := "an address", `an address is written "192.0.2.53" or "2001:db8::53"`
		switch to.(type) {
		case *netip.Prefix:
			hint = `with the length of its subnet's prefix: "192.0.2.7/24" or "2001:db8::7/64"`
		case *Size:
			what, hint = "a size", `with its unit: "20GB" (10^9 bytes each) or "20GiB" (2^30)`
		case *Mode:
			what, hint = "a mode", `permissions in octal: "0644"`
		}
		return d.fail(n, field, hint, "%q is not %s", s, what)
	}
	return nil
}

// number decodes a decimal integer, and none of YAML's other spellings: 010 is
// 8 to YAML and 10 to most people.
func (d *decoder) number(n *yaml.Node, field string, v reflect.Value) error {
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || strconv.Itoa(i) != n.Value {
		return d.fail(n, field, "", "want a plain number, have %s", describe(n))
	}
	v.SetInt(int64(i))
	return nil
}

// boolean decodes true or false, in no other spelling.
func (d *decoder) boolean(n *yaml.Node, field string, v reflect.Value) error {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
		return d.fail(n, field, "", "want true or false, have %s", describe(n))
	}
	v.SetBool(n.Value == "true")
	return nil
}

// fieldsOf maps the YAML keys of a struct to its fields, those of inlined
// structs included.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		key, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			for k, f := range fieldsOf(v.Field(i)) {
				fields[k] = f
			}
		case key != "-":
			fields[key] = v.Field(i)
		}
	}
	return fields
}

// keysOf returns the keys of fields.
func keysOf(fields map[string]reflect.Value) []string {
	var keys []string
	for k := range fields {
		keys = append(keys, k)
	}
	return keys
}

// describe names what a node is, for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", n.Value)
}

// didYouMean returns a hint with the word closest to what was written, if one
// is close: at most half of its letters differ, and at most three.
func didYouMean(have string, words []string) string {
	best, distance := "", 4
	for _, w := range words {
		d := levenshtein.ComputeDistance(have, w)
		if d < distance || d == distance && w < best {
			best, distance = w, d
		}
	}
	if best == "" || distance > len(best)/2 {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}
