package source

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/apt"
	"github.com/farboot/farboot/builder/source/aptsim"
)

// boxes is a recipe with a toolbox of these packages.
func boxes(w *world, list string) *recipe.Recipe {
	return w.recipe(text + "toolbox: {packages: [" + list + "]}\n")
}

// tools adds what a toolbox is made of to the archive.
func tools(w *world) {
	w.mirrors[0].Suite("bookworm").Add(
		aptsim.Package{Name: "busybox-static", Files: map[string]string{"bin/busybox": "x"}},
		aptsim.Package{Name: "dash", Files: map[string]string{"bin/dash": "x"}},
		aptsim.Package{Name: "repair", Version: "1", Fields: map[string]string{"Depends": "libfix (>= 1) | other, tool"}},
		aptsim.Package{Name: "libfix", Version: "1"},
		aptsim.Package{Name: "enemy", Fields: map[string]string{"Breaks": "libfix"}},
	)
	w.mirrors[0].Publish()
}

// names returns the names of inputs, in their order.
func names(all []lock.Input) string {
	var list []string
	for _, in := range all {
		list = append(list, strings.TrimPrefix(in.Name, "deb:")+" "+in.Version)
	}
	return strings.Join(list, ", ")
}

// TestToolbox: what a toolbox's packages lead to is locked and fetched, and is
// found again without an index.
func TestToolbox(t *testing.T) {
	w := newWorld(t, 1)
	tools(w)
	r := boxes(w, "repair")
	l := w.resolve(r)
	if diff := cmp.Diff([]lock.Toolbox{{Packages: []string{"busybox-static", "dash", "repair"}, All: []string{"busybox-static", "dash", "libfix", "repair", "tool"}}}, l.Toolboxes); diff != "" {
		t.Errorf("toolboxes (-want +got):\n%s", diff)
	}
	b := w.fetch(r, l)
	all, err := b.Toolbox(r.Medium.Toolbox.Toolbox)
	if err != nil || names(all) != "busybox-static 1.0, dash 1.0, libfix 1, repair 1, tool 2.0" {
		t.Errorf("got %s, %v", names(all), err)
	}
	if _, err := b.Deb("libfix"); err != nil {
		t.Error(err)
	}
	if _, err := b.Toolbox(recipe.Toolbox{Packages: []string{"enemy"}}); !errors.Is(err, lock.ErrStale) {
		t.Errorf("another list: got %v", err)
	}
}

// TestToolboxKept: a lock that is completed keeps its toolboxes, whatever the
// archive has by now; with another list all their packages are of one state, also
// those that the recipe names by themselves.
func TestToolboxKept(t *testing.T) {
	w := newWorld(t, 1)
	tools(w)
	first := w.resolve(boxes(w, "repair"))
	w.mirrors[0].Suite("bookworm-security").Add(aptsim.Package{Name: "libfix", Version: "2"}, aptsim.Package{Name: "tool", Version: "3"})
	w.mirrors[0].Publish()
	w.options.Keep = first
	if diff := cmp.Diff(first, w.resolve(boxes(w, "repair"))); diff != "" {
		t.Errorf("the same recipe (-first +second):\n%s", diff)
	}
	l := w.resolve(boxes(w, "repair, libfix"))
	all, ok := l.Toolbox([]string{"busybox-static", "dash", "libfix", "repair"})
	if !ok || names(all) != "busybox-static 1.0, dash 1.0, libfix 2, repair 1, tool 3" {
		t.Errorf("another list: got %s, %v", names(all), ok)
	}
	if got := inputs(l)["deb:tool"].Version; got != "3" || len(sortedNames(l)) != 7 {
		t.Errorf("tool %s, inputs %q", got, sortedNames(l))
	}
}

// TestToolboxRefuses: what does not fit together is explained, with the recipe.
func TestToolboxRefuses(t *testing.T) {
	w := newWorld(t, 1)
	tools(w)
	_, err := Resolve(t.Context(), boxes(w, "repair, enemy"), nil, w.options)
	wantError(t, err, apt.ErrConflict, "demo.yaml: toolbox: ", "enemy breaks libfix; enemy is wanted as enemy, libfix as repair > libfix")
	_, err = Resolve(t.Context(), boxes(w, "repaire"), nil, w.options)
	wantError(t, err, apt.ErrNotFound, `did you mean "repair"?`)
}
