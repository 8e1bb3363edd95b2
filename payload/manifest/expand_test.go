package manifest

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	env := Env{"HOSTNAME": "room-4-01", "A": "{HOSTNAME}", "X_1": ""}
	for text, want := range map[string]string{
		"":                            "",
		"{HOSTNAME}\n":                "room-4-01\n",
		"a{HOSTNAME}b{HOSTNAME}":      "aroom-4-01broom-4-01",
		"{A}":                         "{HOSTNAME}", // once
		"{X_1}|":                      "|",
		"{hostname} {} {1A} {A B} { ": "{hostname} {} {1A} {A B} { ",
		"{{HOSTNAME}}":                "{room-4-01}",
		"{not {HOSTNAME}}":            "{not room-4-01}",
		"a { b":                       "a { b",
		"[Match]\nName=${HOSTNAME}\n": "[Match]\nName=$room-4-01\n",
	} {
		got, err := FlashFile{Content: text, Expand: true}.Text(env)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
		if got, err := (FlashFile{Content: text}).Text(env); err != nil || got != text {
			t.Errorf("%q, not to be expanded: %q, %v", text, got, err)
		}
	}
	_, err := FlashFile{Path: "/etc/hostname", Content: "{NAME} {OTHER}", Expand: true}.Text(env)
	if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), `"/etc/hostname": nothing says what {NAME} is`) {
		t.Errorf("a placeholder without a value: %v", err)
	}
	if diff := cmp.Diff([]string{"A", "B_2"}, Placeholders("{A}{B_2}{A}{b}")); diff != "" {
		t.Error(diff)
	}
}
