package source

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// missingError says that a package has no file of that name. It is an
// [fs.ErrNotExist].
type missingError struct {
	pkg, name string
	near      []string
}

// Error implements error.
func (e *missingError) Error() string {
	return fmt.Sprintf("package %s has no file %q", e.pkg, e.name)
}

// Is tells the class.
func (e *missingError) Is(target error) bool { return target == fs.ErrNotExist }

// hint names the files that may have been meant.
func (e *missingError) hint() string {
	if len(e.near) == 0 {
		return fmt.Sprintf("\"dpkg-deb --contents\" lists what a package holds; paths have no leading %q", "/")
	}
	return `did you mean "` + strings.Join(e.near, `" or "`) + `"?`
}

// maxNear is how many files a hint names at most.
const maxNear = 3

// near returns the paths among names that someone who wrote name may have
// meant: the closest by spelling, those with the same last part before others.
func near(name string, names []string) []string {
	type candidate struct {
		name  string
		other bool // has another last part
		away  int
	}
	var all []candidate
	for _, n := range names {
		c := candidate{n, path.Base(n) != path.Base(name), levenshtein.ComputeDistance(n, name)}
		if !c.other || c.away <= len(name)/8+2 {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		switch {
		case a.other != b.other && b.other:
			return -1
		case a.other != b.other:
			return 1
		case a.away != b.away:
			return a.away - b.away
		}
		return strings.Compare(a.name, b.name)
	})
	var best []string
	for _, c := range all[:min(len(all), maxNear)] {
		best = append(best, c.name)
	}
	return best
}
