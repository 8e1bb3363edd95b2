package strictjson_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/strictjson"
)

type doc struct {
	Name  string         `json:"name"`
	Size  int64          `json:"size"`
	Parts []part         `json:"parts,omitzero"`
	Named map[string]int `json:"named,omitzero"`
}

type part struct {
	ID string `json:"id"`
}

const good = `{"name": "x", "size": 3, "parts": [{"id": "a"}, {"id": "b"}], "named": {"one": 1}}`

func TestDecode(t *testing.T) {
	var d doc
	if err := strictjson.Decode([]byte(good), 1000, &d); err != nil {
		t.Fatal(err)
	}
	want := doc{Name: "x", Size: 3, Parts: []part{{"a"}, {"b"}}, Named: map[string]int{"one": 1}}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("got %+v", d)
	}
}

// TestRefusals is threat 25: what two parsers could read differently.
func TestRefusals(t *testing.T) {
	for name, text := range map[string]string{
		"empty":            "",
		"blank":            " \n",
		"unknown field":    `{"name": "x", "size": 3, "nome": 1}`,
		"duplicate key":    `{"name": "x", "name": "y"}`,
		"duplicate below":  `{"named": {"a": 1, "a": 2}}`,
		"upper case":       `{"Name": "x"}`,
		"folded case":      `{"ſize": 3}`,
		"escaped key":      `{"na\u006de": "x", "name": "y"}`,
		"null":             `{"name": null}`,
		"trailing value":   `{"name": "x"} {}`,
		"trailing garbage": `{"name": "x"}]`,
		"invalid UTF-8":    "{\"name\": \"\xff\"}",
		"float":            `{"size": 1.5}`,
		"huge":             `{"size": 99999999999999999999}`,
		"wrong type":       `{"size": "3"}`,
		"cut":              good[:40],
		"deep":             `{"name": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		"too large":        `{"name": "` + strings.Repeat("x", 1000) + `"}`,
		"empty key":        `{"": 1}`,
	} {
		var d doc
		if err := strictjson.Decode([]byte(text), 1000, &d); !errors.Is(err, strictjson.ErrMalformed) {
			t.Errorf("%s: Decode = %v; want ErrMalformed", name, err)
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	err := strictjson.Decode([]byte("{\n\"name\": \"x\",\n\"name\": \"y\"}"), 1000, new(doc))
	if err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("Decode = %v; want line 3", err)
	}
}

// FuzzDecode: what is accepted survives a round trip, and encoding/json agrees.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"named": {"a.b-c_d": -1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d, again, plain doc
		if strictjson.Decode(data, 1<<16, &d) != nil {
			return
		}
		if err := json.Unmarshal(data, &plain); err != nil || !reflect.DeepEqual(d, plain) {
			t.Fatalf("encoding/json reads %+v, %v; we read %+v", plain, err, d)
		}
		out, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := strictjson.Decode(out, 1<<20, &again); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	})
}
