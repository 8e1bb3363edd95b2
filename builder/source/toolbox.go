package source

import (
	"context"
	"fmt"
	"slices"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/toolbox"
)

// toolboxLists returns the lists of packages of a recipe's toolboxes, each with
// what every toolbox has.
func toolboxLists(r *recipe.Recipe) [][]string {
	var lists [][]string
	for _, t := range r.Toolboxes() {
		list := toolbox.Packages(t.Packages)
		if !slices.ContainsFunc(lists, func(l []string) bool { return slices.Equal(l, list) }) {
			lists = append(lists, list)
		}
	}
	slices.SortFunc(lists, slices.Compare[[]string])
	return lists
}

// toolboxes adds what the recipe's toolboxes come to. Packages of one state of
// the repositories belong together, so all are looked up, or all are kept; and
// what is looked up prevails over a version that is kept for something else.
func (v *resolver) toolboxes(ctx context.Context, l *lock.Lock) error {
	lists := toolboxLists(v.recipe)
	if len(lists) == 0 || v.keepToolboxes(l, lists) {
		return nil
	}
	if err := v.open(ctx); err != nil {
		return err
	}
	newest := map[string]bool{}
	var found []lock.Input
	for _, list := range lists {
		packages, err := v.index.Closure(list)
		if err != nil {
			return fmt.Errorf("%s: toolbox: %w", v.recipe.Path, err)
		}
		t := lock.Toolbox{Packages: list}
		for _, p := range packages {
			in := lockPackage(p)
			t.All = append(t.All, p.Name)
			newest[in.Name] = true
			found = append(found, in)
		}
		l.Toolboxes = append(l.Toolboxes, t)
	}
	l.Inputs = slices.DeleteFunc(l.Inputs, func(in lock.Input) bool { return newest[in.Name] })
	l.Inputs = append(l.Inputs, found...)
	return nil
}

// keepToolboxes takes the toolboxes of the lock that is kept, if it has all.
func (v *resolver) keepToolboxes(l *lock.Lock, lists [][]string) bool {
	if !v.keeps() {
		return false
	}
	var kept []lock.Input
	var boxes []lock.Toolbox
	for _, list := range lists {
		all, ok := v.options.Keep.Toolbox(list)
		if !ok {
			return false
		}
		t := lock.Toolbox{Packages: list}
		for _, in := range all {
			t.All = append(t.All, in.Name[len("deb:"):])
		}
		kept, boxes = append(kept, all...), append(boxes, t)
	}
	l.Inputs, l.Toolboxes = append(l.Inputs, kept...), boxes
	return true
}

// Toolbox returns the packages of a toolbox of the recipe, by name.
func (b *Blobs) Toolbox(t recipe.Toolbox) ([]lock.Input, error) {
	all, ok := b.lock.Toolbox(toolbox.Packages(t.Packages))
	if !ok {
		return nil, fmt.Errorf("%s: %w: it has no toolbox with these packages", b.recipe.Path, lock.ErrStale)
	}
	return all, nil
}
