package settings_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/state"
)

func TestRoundTrip(t *testing.T) {
	want := settings.Settings{
		Format: settings.Format, Site: []string{"http://10.0.2.2:8080/"}, Arch: "amd64", Channel: "stable",
		Build: "0123456789abcdef", Built: time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC),
		Floor: state.Floor{
			Statement: 2, Epoch: 1, Version: 12, SHA256: object.OfBytes([]byte("manifest")).SHA256,
			Issued: time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC),
		},
		RequireTime: true, TrustRTC: true,
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

		`{"format": 1, "site": ["http://a/"], "floor": {"statement": -1}}`:                  "below zero",
		`{"format": 1, "site": ["http://a/"], "floor": {"statement": 1, "version": 3}}`:     "belong together",
		`{"format": 1, "site": ["http://a/"], "floor": {"statement": 1, "tries": 1}}`:       "unknown field",
		`{"format": 1, "site": ["http://a/"], "floor": {"issued": "2026-01-01T00:00:00Z"}}`: "beside a version",
	} {
		if _, err := settings.Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), phrase) {
			t.Errorf("Decode(%s) = %v; want %q", text, err, phrase)
		}
	}
}

// TestNothingOldChanges: a medium without the new fields is written as before.
func TestNothingOldChanges(t *testing.T) {
	data, err := settings.Encode(settings.Settings{Site: []string{"http://a/"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"floor", "require_time", "trust_rtc"} {
		if strings.Contains(string(data), field) {
			t.Errorf("%q stands in\n%s", field, data)
		}
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	s := settings.Settings{Site: []string{"http://a/"}, Floor: state.Floor{Version: 3}}
	if data, err := settings.Encode(s); err == nil {
		t.Errorf("Encode = %s", data)
	}
}
