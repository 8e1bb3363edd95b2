package settings_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/settings"
)

func TestRoundTrip(t *testing.T) {
	want := settings.Settings{
		Format: settings.Format, Site: []string{"http://10.0.2.2:8080/"}, Arch: "amd64", Channel: "stable",
		Build: "0123456789abcdef", Built: time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC),
	}
	data, err := settings.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := settings.Decode(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode = %+v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	for text, phrase := range map[string]string{
		`{"format": 2, "site": ["http://a/"]}`:             "format 2",
		`{"format": 1, "site": []}`:                        "no site",
		`{"format": 1, "site": ["http://a/"], "debug": 1}`: "unknown field",
	} {
		if _, err := settings.Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), phrase) {
			t.Errorf("Decode(%s) = %v; want %q", text, err, phrase)
		}
	}
}
