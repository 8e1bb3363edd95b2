package power

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/manifest"
)

// Limit is how many controllers are talked to at the same time: a room of 30 is
// done in two rounds, and no switch between here and there is flooded.
const Limit = 16

// Target is a machine of a recipe.
type Target struct {
	recipe.Machine
	// Label is its name, or what else the recipe knows it by.
	Label string
	// Driver switches it. Where there is none, Err says why.
	Driver Driver
	Err    error
}

// ErrNone says that nobody has said how a machine is switched.
var ErrNone = errors.New(`the recipe does not say how to switch it: no "power:"`)

// UnknownError is a word that names no machine of a recipe.
type UnknownError struct {
	Word string
	// Known are the names and groups that there are.
	Known []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no machine and no group is called %q", e.Word)
}

// Targets returns the machines that words mean, each once, in the order of the
// words: the name of a machine or a group, or a MAC address, UUID or serial number
// as in the recipe. Secrets are read now, and one that cannot be read is the
// matter of its own machine.
func Targets(r *recipe.Recipe, words []string) ([]Target, error) {
	machines := r.Site.AllMachines()
	var found []Target
	seen := map[int]bool{}
	for _, word := range words {
		known := false
		for i, m := range machines {
			if !means(m, word) {
				continue
			}
			known = true
			if !seen[i] {
				seen[i] = true
				found = append(found, target(r, m))
			}
		}
		if !known {
			return nil, &UnknownError{word, names(machines)}
		}
	}
	return found, nil
}

// means tells whether word stands for m.
func means(m recipe.Machine, word string) bool {
	mac := strings.ToLower(strings.ReplaceAll(word, "-", ":"))
	return word != "" && (word == m.Name || word == m.Group || mac == m.Match.MAC ||
		strings.EqualFold(word, m.Match.UUID) || word == m.Match.Serial)
}

// names lists what machines and their groups are called.
func names(machines []recipe.Machine) []string {
	var all []string
	for _, m := range machines {
		for _, name := range []string{m.Name, m.Group} {
			if name != "" && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// target returns a machine with its driver.
func target(r *recipe.Recipe, m recipe.Machine) Target {
	t := Target{Machine: m, Label: cmp.Or(m.Name, m.Match.MAC, m.Match.UUID, m.Match.Serial)}
	t.Driver, t.Err = driver(r, t)
	return t
}

// driver makes the driver of a machine, with its secret and the roots that it is
// checked by.
func driver(r *recipe.Recipe, t Target) (Driver, error) {
	if t.Power == nil {
		return nil, ErrNone
	}
	if err := t.Power.Complete(); err != nil {
		return nil, err
	}
	c := Config{Power: *t.Power, Name: t.Label, MAC: t.Match.MAC, Dir: r.Dir}
	var err error
	if c.Secret, err = t.Power.Password.Read(r.Dir); err != nil {
		return nil, err
	}
	if t.Power.CA != "" {
		pem, err := os.ReadFile(filepath.Join(r.Dir, filepath.FromSlash(t.Power.CA)))
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.Roots = x509.NewCertPool()
		if !c.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s has no certificate (PEM)", t.Power.CA)
		}
	}
	return New(c)
}

// Identifies tells whether a machine that says what it is is t.
func (t Target) Identifies(id manifest.Identity) bool {
	m := manifest.Manifest{Machines: []manifest.Machine{{Match: manifest.Match(t.Match), Boot: []string{"x"}}}}
	return len(m.Select(id)) > 0
}

// Result is what became of one machine.
type Result struct {
	Target
	State State // where it was asked for
	Err   error
}

// All calls do for all targets, at most limit at a time, and returns what became
// of each, in their order. Those without a driver fail, and are there as well.
func All(ctx context.Context, targets []Target, limit int, do func(context.Context, Target) (State, error)) []Result {
	results := make([]Result, len(targets))
	var g errgroup.Group
	g.SetLimit(limit)
	for i, t := range targets {
		results[i].Target = t
		if results[i].Err = t.Err; t.Err != nil {
			continue
		}
		g.Go(func() error {
			if results[i].Err = ctx.Err(); results[i].Err == nil {
				results[i].State, results[i].Err = do(ctx, t)
			}
			return nil
		})
	}
	g.Wait() //nolint:errcheck // each has its own
	return results
}
