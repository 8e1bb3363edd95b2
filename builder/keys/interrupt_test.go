package keys

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// powerFailure ends a run before its nth step, without any tidying up.
type powerFailure struct{ step int }

// interrupted applies the changes until the power fails before step n. It tells
// whether that happened at all.
func interrupted(t *testing.T, o Options, n int, changes ...Change) (failed bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			if r != (powerFailure{n}) {
				panic(r)
			}
			failed = true
		}
	}()
	step := 0
	o.before = func() {
		if step == n {
			panic(powerFailure{n})
		}
		step++
	}
	if _, err := Apply(o, changes...); err != nil {
		t.Fatalf("step %d: %v", n, err)
	}
	return false
}

// TestPowerFailure ends a rotation before each of its steps. The keys stay
// usable, with the old statement or the new one, and the next change works and
// leaves nothing of the interrupted one.
func TestPowerFailure(t *testing.T) {
	init := options(t)
	initialise(t, init)
	whole := t.TempDir()
	if err := os.CopyFS(whole, os.DirFS(init.Dir)); err != nil {
		t.Fatal(err)
	}
	versions := map[int64]int{}
	for n := 0; ; n++ {
		if err := os.RemoveAll(init.Dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(init.Dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		o := ceremonies(init)
		if !interrupted(t, o, n, Rotate{Role: RoleRoot}, Rotate{Role: RoleManifest}) {
			break
		}
		set, err := Load(o.Dir)
		if err != nil {
			t.Fatalf("before step %d: %v", n, err)
		}
		version := set.Newest().Version
		versions[version]++
		if _, err := set.Signer(init.Secrets, nil, time.Now())(trust.PurposeManifest, []byte("m")); err != nil {
			t.Errorf("before step %d: %v", n, err)
		}
		if _, err := set.Report([]string{init.Secrets}, time.Now()); err != nil {
			t.Errorf("before step %d: %v", n, err)
		}
		_, set = apply(t, o, Rotate{Role: RoleManifest})
		if set.Newest().Version != version+1 {
			t.Errorf("before step %d: version %d after %d", n, set.Newest().Version, version)
		}
		if got := fmt.Sprint(listed(t, o.Dir)); got != fmt.Sprint(expected(set)) {
			t.Errorf("before step %d: the folder holds %s", n, got)
		}
	}
	if versions[1] < 3 || versions[2] < 3 || len(versions) != 2 {
		t.Errorf("steps by statement in force: %v", versions)
	}
}

// listed returns the names in the keys folder.
func listed(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// expected returns the names of a folder where nothing is left to do.
func expected(s *Set) []string {
	var names []string
	st := s.Store.Statement()
	for _, role := range []Role{RoleManifest, RoleRoot} {
		for _, fpr := range roleOf(st, role).Keys {
			names = append(names, publicName(st, fpr))
		}
	}
	return append(names, trustDir)
}
