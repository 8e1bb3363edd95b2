package disks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Choose returns the disk that a rule means, where it may be written and has at
// least need bytes.
//
// The boot medium, read-only disks, those that are too small, and removable ones
// that the rule does not name are left out before Pick looks. One in use is not:
// if it is what the rule means, no other is taken in its place.
func Choose(all []Disk, rule Rule, need int64) (Disk, error) {
	if !slices.Contains([]string{"", PickOnly, PickSmallest, PickLargest}, rule.Pick) {
		return Disk{}, fmt.Errorf("%w: pick %q is not known", ErrNone, rule.Pick)
	}
	named := rule.Serial != "" || rule.ID != ""
	var fit, barred, small []Disk
	for _, d := range all {
		switch {
		case !rule.fits(d), d.Removable && !named:
		case d.Medium, d.ReadOnly:
			barred = append(barred, d)
		case d.Size < need:
			small = append(small, d)
		default:
			fit = append(fit, d)
		}
	}
	if same := slices.Concat(fit, barred, small); named && len(same) > 1 {
		return Disk{}, fmt.Errorf("%w what should name one: %s", ErrAmbiguous, describe(same))
	}
	switch {
	case len(fit) > 0:
		d, err := rule.pick(fit)
		if err == nil && d.InUse != "" {
			return Disk{}, fmt.Errorf("%w: %s", ErrBusy, describe([]Disk{d}))
		}
		return d, err
	case len(small) > 0:
		return Disk{}, fmt.Errorf("%w: %s; the image needs %s", ErrTooSmall, describe(small), size(need))
	case len(barred) > 0:
		return Disk{}, fmt.Errorf("%w: %s", ErrBusy, describe(barred))
	case len(all) == 0:
		return Disk{}, fmt.Errorf("%w: this machine shows no disk", ErrNone)
	}
	return Disk{}, fmt.Errorf("%w %s; there are: %s", ErrNone, rule, describe(all))
}

// fits tells whether all that the rule says is true of d.
func (r Rule) fits(d Disk) bool {
	return (r.Serial == "" || r.Serial == d.Serial) &&
		(r.ID == "" || slices.Contains(d.IDs, strings.TrimPrefix(r.ID, "/dev/disk/by-id/"))) &&
		d.Size >= r.MinSize && (r.MaxSize == 0 || d.Size <= r.MaxSize)
}

// pick chooses among disks that fit. Of two that are the same it chooses neither.
func (r Rule) pick(fit []Disk) (Disk, error) {
	slices.SortStableFunc(fit, func(a, b Disk) int { return cmp.Compare(a.Size, b.Size) })
	if r.Pick == PickLargest {
		slices.Reverse(fit)
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case r.Pick == "" || r.Pick == PickOnly:
		return Disk{}, fmt.Errorf("%w and pick is %q: %s", ErrAmbiguous, PickOnly, describe(fit))
	case fit[0].Size == fit[1].Size:
		return Disk{}, fmt.Errorf("%w and are equally large: %s", ErrAmbiguous, describe(fit))
	}
	return fit[0], nil
}

// String says what the rule asks for.
func (r Rule) String() string {
	var parts []string
	for _, p := range []struct {
		name string
		set  bool
		text string
	}{
		{"serial", r.Serial != "", fmt.Sprintf("%q", r.Serial)},
		{"id", r.ID != "", fmt.Sprintf("%q", r.ID)},
		{"at least", r.MinSize > 0, size(r.MinSize)},
		{"at most", r.MaxSize > 0, size(r.MaxSize)},
	} {
		if p.set {
			parts = append(parts, p.name+" "+p.text)
		}
	}
	if len(parts) == 0 {
		return "(any that is not removable)"
	}
	return strings.Join(parts, ", ")
}

// describe lists disks with what keeps each from being written.
func describe(all []Disk) string {
	var parts []string
	for _, d := range all {
		text := d.String()
		if bar := d.Bar(); bar != "" {
			text += " (" + bar + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
