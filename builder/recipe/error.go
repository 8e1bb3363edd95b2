package recipe

import "fmt"

// Error is a mistake in a recipe, at the place where a person can mend it.
type Error struct {
	// Path is the recipe's file as the user named it; Line counts from 1.
	Path string
	Line int
	// Field is the key's place in the recipe, "menu[0].title"; empty where
	// the file as a whole is meant.
	Field string
	Msg   string
	// Hint says what to do about it, where that is known.
	Hint string
}

// Error starts with file and line, as compilers do, so that editors jump there.
func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Msg)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.Path, e.Line, e.Field, e.Msg)
}
