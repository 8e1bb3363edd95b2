package grub

import (
	"errors"
	"fmt"
	"strings"

	"github.com/farboot/farboot/payload/manifest"
)

// ErrText is wrapped by every refusal of a text that GRUB could not carry as it
// is.
var ErrText = errors.New("not possible in a GRUB menu")

// Quote returns s as one word of GRUB's script language (script/yylex.l): in
// single quotes, where nothing has a meaning but the quote itself. It refuses
// everything but printable ASCII: the lexer reads line by line, and neither the
// serial nor the VGA console shows more.
func Quote(s string) (string, error) {
	for _, r := range s {
		if r < ' ' || r > '~' {
			return "", fmt.Errorf("%+q: character %U is %w", s, r, ErrText)
		}
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'", nil
}

// cmdlineWords splits a kernel command line into the words that GRUB's linux
// command must be given for the kernel to see the line as it was written.
//
// GRUB joins its arguments with single blanks. It puts an argument with a blank
// in it between double quotes, and a backslash before each backslash and each
// quote (lib/cmdline.c). So a line survives if its words stand one blank apart,
// have no backslash and no quote, and what has blanks stands as a whole between
// double quotes: "dyndbg=file init +p". All else is refused.
func cmdlineWords(line string) ([]string, error) {
	if err := manifest.CheckCmdline(line); err != nil {
		return nil, err
	}
	if strings.ContainsAny(line, `\'`) {
		return nil, fmt.Errorf("command line %q: backslash and single quote are %w: it would double them", line, ErrText)
	}
	var words []string
	for rest := line; rest != ""; {
		word, after, err := cutWord(rest)
		if err != nil {
			return nil, fmt.Errorf("command line %q: %w", line, err)
		}
		words, rest = append(words, word), after
	}
	return words, nil
}

// cutWord returns the first word of line, without its quotes, and what follows
// the blank behind it.
func cutWord(line string) (word, rest string, err error) {
	if !strings.HasPrefix(line, `"`) {
		word, rest, _ = strings.Cut(line, " ")
		switch {
		case word == "":
			return "", "", fmt.Errorf("two blanks in a row are %w", ErrText)
		case strings.Contains(word, `"`):
			return "", "", fmt.Errorf(`a double quote inside of a word is %w: write "name=a b", not name="a b"`, ErrText)
		}
		return word, rest, nil
	}
	word, rest, closed := strings.Cut(line[1:], `"`)
	if !closed || rest != "" && rest[0] != ' ' || !strings.Contains(word, " ") {
		return "", "", fmt.Errorf("double quotes around anything but a whole word with a blank in it are %w", ErrText)
	}
	return word, strings.TrimPrefix(rest, " "), nil
}
