package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// maxProblems bounds how many problems a report lists: who has 10,000 broken
// documents has one problem.
const maxProblems = 20

// VerifyOptions say with whose eyes a site is looked at.
type VerifyOptions struct {
	// Dir is the site's folder.
	Dir string
	// Stores are what the media believe that are asked about, see [Stores]. The
	// last one also looks at documents and objects.
	Stores []*trust.Store
	// Terms are those of the media. Empty arch and channel are taken from the
	// manifest.
	Terms accept.Terms
	// Time is what the media's clocks say.
	Time clock.Time
}

// Report tells what media make of a site.
type Report struct {
	Product string `json:"product"`
	Arch    string `json:"arch"`
	Channel string `json:"channel"`
	// Media holds an answer for each of the statements asked about.
	Media []Medium `json:"media"`
	// Statement is the trust statement that the last of them reaches; what
	// follows is of the manifest that it accepts. All of it is zero if there is
	// none.
	Statement  int64               `json:"statement,omitzero"`
	Epoch      int64               `json:"epoch,omitzero"`
	Version    int64               `json:"version,omitzero"`
	Issued     time.Time           `json:"issued,omitzero"`
	Expires    time.Time           `json:"expires,omitzero"`
	AgeSeconds int64               `json:"age_seconds,omitzero"`
	Signers    []trust.Fingerprint `json:"signers,omitzero"`
	// Doubts are what nobody can check without a trusted time.
	Doubts []string `json:"doubts,omitzero"`
	// Objects, with Bytes bytes, and Documents are there and good.
	Objects   int   `json:"objects"`
	Bytes     int64 `json:"bytes"`
	Documents int   `json:"documents,omitzero"`
	// Problems say, a line each, what a machine would stumble over; at most 20,
	// and one line about the others. Without any the site is good for all media.
	Problems []string `json:"problems,omitzero"`
	// Err is the first of the problems, with its class.
	Err error `json:"-"`
}

// Medium is what a medium with one statement makes of a site.
type Medium struct {
	Statement int64 `json:"statement"`
	// Reaches is the statement that it walks to, and Version the manifest's
	// that it accepts there, 0 for none.
	Reaches int64 `json:"reaches"`
	Version int64 `json:"version"`
	// Refuses tells why it accepts none.
	Refuses string `json:"refuses,omitzero"`
}

// Verify reads the whole site as machines do, and every object. What it finds
// is in the report; an error means that it could not look.
func Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	if len(o.Stores) == 0 {
		return Report{}, errors.New("verify: no statement to begin with")
	}
	v := &verification{VerifyOptions: o, objects: map[object.Ref]bool{}, images: map[object.Ref]bool{}, indexes: map[object.Ref]bool{}}
	v.terms()
	var last *accept.Accepted
	for _, store := range o.Stores {
		last = v.medium(ctx, store)
	}
	if last != nil {
		v.describe(last)
		v.documents(ctx, last)
		v.entries(last)
		v.readObjects(ctx)
		v.readTrees(ctx)
	}
	if more := v.problems - maxProblems; more > 0 {
		v.report.Problems = append(v.report.Problems, fmt.Sprintf("and %d more", more))
	}
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	return v.report, nil
}

// verification is one run of Verify.
type verification struct {
	VerifyOptions
	judge *accept.Judge // of the last of the stores

	mu       sync.Mutex // documents are read in parallel
	report   Report
	problems int
	objects  map[object.Ref]bool
	images   map[object.Ref]bool // those of the objects that are images of disks
	indexes  map[object.Ref]bool // those that are indexes of images in the tree
}

// problem adds one to the report.
func (v *verification) problem(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := fmt.Errorf(format, args...)
	if v.report.Err == nil {
		v.report.Err = err
	}
	if v.problems++; v.problems <= maxProblems {
		v.report.Problems = append(v.report.Problems, err.Error())
	}
}

// terms completes the terms by what the manifest says of itself, which is
// believed of nothing else.
func (v *verification) terms() {
	var claims struct{ Product, Arch, Channel string }
	if data, err := readFile(filepath.Join(v.Dir, manifest.File), manifest.MaxSize); err == nil {
		_ = json.Unmarshal(data, &claims) // what is no JSON is refused later
	}
	t := &v.VerifyOptions.Terms
	for _, f := range []struct{ ours, its *string }{{&t.Arch, &claims.Arch}, {&t.Channel, &claims.Channel}} {
		if *f.ours == "" {
			*f.ours = *f.its
		}
	}
	if t.Product == "" {
		t.Product = v.Stores[0].Statement().Product
	}
	v.report.Product, v.report.Arch, v.report.Channel = t.Product, t.Arch, t.Channel
}

// medium lets a medium read the site and returns what it accepts, if anything.
func (v *verification) medium(ctx context.Context, store *trust.Store) *accept.Accepted {
	v.judge = accept.New(store, v.Terms)
	m := Medium{Statement: store.Statement().Version}
	err := v.judge.Walk(ctx, Files(v.Dir))
	m.Reaches = v.judge.Store().Statement().Version
	var a *accept.Accepted
	if err == nil {
		a, err = v.judge.Manifest(ctx, Files(v.Dir), v.Time)
	}
	if err != nil {
		m.Refuses = err.Error()
		v.problem("medium with statement %d: %w", m.Statement, err)
	} else {
		m.Version = a.Manifest.Version
	}
	v.report.Media = append(v.report.Media, m)
	return a
}

// describe reports what is known of the manifest.
func (v *verification) describe(a *accept.Accepted) {
	m, r := a.Manifest, &v.report
	r.Statement, r.Epoch, r.Version = a.Statement, m.Epoch, m.Version
	r.Issued, r.Expires = m.Issued, m.Expires
	r.AgeSeconds = int64(v.Time.Now.Sub(m.Issued).Seconds())
	r.Signers, r.Doubts = a.Signers, a.Doubts
}

// entries notes the objects that a manifest or document needs.
func (v *verification) entries(a *accept.Accepted) {
	for name := range a.Manifest.Entries {
		if _, err := a.Entry(name); err != nil {
			v.problem("entry %q: %w", name, err)
		}
	}
	for name := range a.Manifest.Files {
		if _, err := a.Object(name); err != nil {
			v.problem("file %q: %w", name, err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, ref := range a.Manifest.Refs() {
		v.objects[ref] = true
	}
	maps.Copy(v.images, images(a.Manifest))
	v.trees(a.Manifest)
}

// documents reads the documents of all machines, each as its machine would.
func (v *verification) documents(ctx context.Context, site *accept.Accepted) {
	if !site.Manifest.Documents {
		return
	}
	names, err := os.ReadDir(filepath.Join(v.Dir, manifest.DocumentDir))
	if err != nil {
		v.problem("documents: %w", err)
		return
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, e := range names {
		id, isDocument := strings.CutSuffix(e.Name(), ".json")
		if !isDocument || ctx.Err() != nil {
			continue
		}
		g.Go(func() error {
			if err := v.document(ctx, site, id); err != nil {
				v.problem("document %q: %w", id, err)
			}
			return nil
		})
	}
	_ = g.Wait() // every error is a problem
}

// document reads one as the machine that its own text names. Whether that is
// believed, and the document with it, is for the judge to say.
func (v *verification) document(ctx context.Context, site *accept.Accepted, id string) error {
	data, err := readFile(filepath.Join(v.Dir, manifest.DocumentDir, id+".json"), manifest.MaxSize)
	if err != nil {
		return err
	}
	var claims struct{ Machines []manifest.Machine }
	if err := json.Unmarshal(data, &claims); err != nil {
		return err
	}
	if len(claims.Machines) != 1 || manifest.DocumentID(claims.Machines[0].Match) != id {
		return errors.New("no machine would ask for it")
	}
	match := claims.Machines[0].Match
	a, err := v.judge.Document(ctx, Files(v.Dir), v.Time, site, identity(match))
	if err != nil {
		return err
	}
	v.entries(a)
	v.mu.Lock()
	v.report.Documents++
	v.mu.Unlock()
	return nil
}

// identity returns a machine that match recognises.
func identity(match manifest.Match) manifest.Identity {
	return manifest.Identity{MACs: []string{match.MAC}, UUID: match.UUID, Serial: match.Serial}
}

// byHash is an order in which problems come out the same each time.
func byHash(a, b object.Ref) int { return strings.Compare(a.String(), b.String()) }

// readObjects reads every object to its end.
func (v *verification) readObjects(ctx context.Context) {
	for _, ref := range slices.SortedFunc(maps.Keys(v.objects), byHash) {
		if err := verify(ctx, filepath.Join(v.Dir, ref.Path()), ref, v.images[ref]); err != nil {
			v.problem("object %s: %w", ref.SHA256, err)
			continue
		}
		v.report.Objects++
		v.report.Bytes += ref.Size
	}
}
