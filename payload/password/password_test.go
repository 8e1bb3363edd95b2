package password

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// hashed is crypt(3) of this computer's C library, by Perl.
func hashed(t *testing.T, password, setting string) string {
	t.Helper()
	out, err := exec.Command("perl", "-e", `print crypt($ARGV[0], $ARGV[1])`, password, setting).Output()
	if err != nil || len(out) < 20 {
		t.Fatalf("perl (Debian package perl-base): %q, %v", out, err)
	}
	return string(out)
}

// Passwords are judged as crypt(3) judges them.
func TestCrypt(t *testing.T) {
	for _, setting := range []string{
		"$6$saltsalt$", "$6$s$", "$6$0123456789abcdef$", "$6$rounds=1000$saltsalt$", "$6$rounds=20000$abc$",
		"$y$j9T$WisUGrWT0mLn88ofaeJPF/$", "$y$j75$abcdefgh$", "$y$j8T$WisUGrWT0mLn88ofaeJPF/$",
	} {
		for _, password := range []string{"secret", "", "x", "with blanks and a €", strings.Repeat("long", 40)} {
			text := hashed(t, password, setting)
			h, err := Parse(text)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if !h.Matches([]byte(password)) {
				t.Errorf("%s: %q does not match", text, password)
			}
			for _, other := range []string{password + "x", "Secret", password + "\x00"} {
				if h.Matches([]byte(other)) {
					t.Errorf("%s: %q matches", text, other)
				}
			}
		}
	}
}

// What is no hash, or costs too much, is refused when it is read.
func TestRefused(t *testing.T) {
	sha, yes := hashed(t, "secret", "$6$saltsalt$"), hashed(t, "secret", "$y$j75$abcdefgh$")
	for _, text := range []string{
		"", "x", "secret", "!", "*", "$1$abc$def", "$5$saltsalt$" + strings.Repeat("a", 43), "$6$", "$y$",
		sha[:len(sha)-1], sha + "a", sha + "\n", sha + "$", " " + sha, strings.Replace(sha, "salt$", "sa:t$", 1), "$6$01234567890123456" + sha[11:],
		"$6$rounds=999" + sha[2:], "$6$rounds=500001" + sha[2:], "$6$rounds=05000" + sha[2:], "$6$rounds=" + sha[2:], "$6$rounds=5000x" + sha[2:], "$6$rounds=5000$rounds=5000" + sha[2:],
		yes[:len(yes)-1], yes + "a", strings.Replace(yes, "j75", "jFT", 1), strings.Replace(yes, "j75", "j7", 1), strings.Replace(yes, "j75", "jzz", 1),
		strings.Replace(yes, "j75", "k75", 1), strings.Replace(yes, "abcdefgh", "", 1), strings.Replace(yes, "abcdefgh", "a", 1), strings.Replace(yes, "abcdefgh", "abc$defgh", 1),
	} {
		if _, err := Parse(text); !errors.Is(err, ErrHash) {
			t.Errorf("%q: %v", text, err)
		} else if len(text) > 30 && strings.Contains(err.Error(), text[len(text)-20:]) {
			t.Errorf("the hash stands in %q", err)
		}
	}
	if (Hash{}).Matches(nil) {
		t.Error("no hash matches something")
	}
	if h, err := Parse(sha); err != nil || h.Matches(make([]byte, MaxSize+1)) {
		t.Errorf("a password without end matches, %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$6$saltsalt$" + strings.Repeat("a", 86))
	f.Add("$6$rounds=1000$saltsalt$" + strings.Repeat("a", 86))
	f.Add("$y$j75$abcdefgh$" + strings.Repeat("a", 43))
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Parse(text)
		if err == nil && h.Matches([]byte("a guess")) {
			t.Errorf("%q matches a guess", text)
		}
	})
}
