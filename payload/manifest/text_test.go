package manifest

import (
	"strings"
	"testing"
)

func TestCheckCmdline(t *testing.T) {
	for _, s := range []string{
		"", "console=ttyS0,115200 priority=low", `dyndbg="file drivers/usb/* +p" quiet`,
		"url=http://10.0.2.2/a?b=$c;d&e='f'", strings.Repeat("x", 2047),
	} {
		if err := CheckCmdline(s); err != nil {
			t.Errorf("CheckCmdline(%q) = %v", s, err)
		}
	}
	for name, s := range map[string]string{
		"too long": strings.Repeat("x", 2048), "newline": "a\nb", "tab": "a\tb", "NUL": "a\x00b",
		"escape": "a\x1b[2Jb", "bidi": "a\u202eb", "DEL": "a\x7fb", "umlaut": "ü", "invalid UTF-8": "a\xffb",
		"leading blank": " a", "trailing blank": "a ", "open quote": `a="b c`,
	} {
		if CheckCmdline(s) == nil {
			t.Errorf("%s: CheckCmdline(%q) = nil", name, s)
		}
	}
}

func TestCheckTitle(t *testing.T) {
	for _, s := range []string{"Debian installer", `It's "free" {$1}; \ #`, strings.Repeat("x", 64)} {
		if err := CheckTitle(s); err != nil {
			t.Errorf("CheckTitle(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"", " ", "a\nb", "a\x1b[31m", "a\u202eb", "Büro", "a ", strings.Repeat("x", 65)} {
		err := CheckTitle(s)
		if err == nil {
			t.Errorf("CheckTitle(%q) = nil", s)
			continue
		}
		for _, r := range err.Error() {
			if r < ' ' || r > '~' {
				t.Errorf("CheckTitle(%q): message %q itself holds %U", s, err, r)
			}
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, s := range []string{"a", "installer", "debian-12", "linux_6.1", strings.Repeat("x", 64)} {
		if err := CheckName(s); err != nil {
			t.Errorf("CheckName(%q) = %v", s, err)
		}
	}
	for _, s := range []string{
		"", "-a", "a-", ".", "..", "a..b", "a--b", "A", "a/b", `a\b`, "a b", "ä", "\u017fize", strings.Repeat("x", 65),
	} {
		if CheckName(s) == nil {
			t.Errorf("CheckName(%q) = nil", s)
		}
	}
}
