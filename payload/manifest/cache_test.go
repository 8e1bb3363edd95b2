package manifest

import (
	"strings"
	"testing"
)

func TestCheckCache(t *testing.T) {
	for _, c := range []*Cache{nil, {Label: "CACHE"}, {UUID: "F00D-CAFE"}, {Label: "CACHE", UUID: "0a1b2c3d-1111-2222-3333-444455556666", Size: 4096}, {Size: 32}} {
		if err := CheckCache(c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []Cache{{}, {Label: "a label of 17 cha"}, {Label: "a\nb"}, {UUID: "../../x"}, {UUID: strings.Repeat("0", 37)}, {Size: 31}, {Size: -1}, {Size: 1<<20 + 1}} {
		if CheckCache(&c) == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
