package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// TestPowerFailurePending ends a change that others have to sign, too. Either
// nothing waits, or all that is needed to sign does.
func TestPowerFailurePending(t *testing.T) {
	_, res, o, other := twoRoots(t)
	waiting := 0
	for n := 0; interrupted(t, o, n, Rotate{Role: RoleManifest}); n++ {
		set, err := Load(o.Dir)
		if err != nil || set.Newest().Version != 2 {
			t.Fatalf("before step %d: %v", n, err)
		}
		file := filepath.Join(set.Pending(), statementRequest(3))
		if !exists(file) {
			continue
		}
		waiting++
		if _, err := Apply(o, Renew{}); !errors.Is(err, ErrPending) {
			t.Errorf("before step %d: %v, want ErrPending", n, err)
		}
		r, err := ReadRequest(set, file)
		if err != nil {
			t.Fatal(err)
		}
		for fpr, dir := range map[trust.Fingerprint]string{res.Root: o.Secrets[0], res.Standby: other} {
			k, err := ParseSigner(string(fpr), []string{dir}, nil)
			if err == nil {
				_, err = SignRequest(r, k, o.Now)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if c, err := set.collect(file, nil, o.Now); err != nil || c.Done == "" {
			t.Fatalf("before step %d: %+v, %v", n, c, err)
		}
		for _, name := range []string{"3.json", "3.json.sig"} {
			if err := os.Remove(filepath.Join(o.Dir, trustDir, name)); err != nil {
				t.Fatal(err)
			}
		}
		restorePublic(t, set)
	}
	if waiting == 0 {
		t.Error("no step left a request")
	}
}

// restorePublic makes the files of public keys those of the set again.
func restorePublic(t *testing.T, set *Set) {
	t.Helper()
	names, err := publicFiles(set.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(set.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := set.settle(&writer{}, set.Store.Statement()); err != nil {
		t.Fatal(err)
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
