package lock

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/strictjson"
	"github.com/google/renameio/v2"
)

// maxSize bounds a lock file, in bytes: 10,000 packages of a toolbox at 400
// bytes each.
const maxSize = 4 << 20

// PathFor returns where the lock of the recipe at recipePath lies:
// "recipes/netboot.yaml" has "recipes/netboot.lock".
func PathFor(recipePath string) string {
	return strings.TrimSuffix(recipePath, filepath.Ext(recipePath)) + ".lock"
}

// RecipeSum is the checksum that ties a lock to a recipe: over where packages
// come from, and every input. It covers what decides a lock's content and
// nothing else, so that a comment, a title or one more machine leaves a lock as
// it is. The order of inputs, and how often each is named, make no difference.
func RecipeSum(source []string, inputs []string) object.ID {
	inputs = slices.Clone(inputs)
	slices.Sort(inputs)
	h := sha256.New()
	fmt.Fprintf(h, "farboot lock %d\n%q\n%q\n", Format, source, slices.Compact(inputs))
	return object.ID(h.Sum(nil))
}

// Load reads the lock at path and makes sure that it belongs to the recipe
// with the checksum want. Its errors wrap [ErrMissing], [ErrStale] or
// [ErrEdited] where one of these is the cause.
func Load(path string, want object.ID) (*Lock, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	var l Lock
	if err := strictjson.Decode(data, maxSize, &l); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrEdited, err)
	}
	if sum, err := l.sum(); err != nil || sum != l.Sum {
		return nil, fmt.Errorf("%s: %w: its checksum does not fit its content", path, ErrEdited)
	}
	if l.Format != Format {
		return nil, fmt.Errorf("%s: %w: format %d, this farboot reads %d", path, ErrStale, l.Format, Format)
	}
	if l.Recipe != want {
		return nil, fmt.Errorf("%s: %w: the inputs of the recipe are others now", path, ErrStale)
	}
	return &l, nil
}

// Save writes l to path in one step. It sorts the inputs and sets Format and Sum.
func Save(path string, l *Lock) error {
	l.Format = Format
	l.Epoch = l.Epoch.UTC()
	l.Inputs = append([]Input{}, l.Inputs...) // a site of "local" entries has none, and null is no list
	slices.SortFunc(l.Inputs, func(a, b Input) int { return strings.Compare(a.Name, b.Name) })
	sum, err := l.sum()
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	l.Sum = sum
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if err := renameio.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// sum hashes the lock's content without its Sum.
func (l *Lock) sum() (object.ID, error) {
	bare := *l
	bare.Sum = object.ID{}
	data, err := json.Marshal(bare)
	return sha256.Sum256(data), err
}
