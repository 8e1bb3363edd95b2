package flash

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/farboot/farboot/payload/caibx"
)

// receive is a Job's Receive that brings an image in any order, by three at a time, and
// fails where then is not nil, with half of it done.
func receive(image []byte, x *caibx.Index, then error) func(context.Context, func(int) bool, func(int, []byte) error) error {
	return func(ctx context.Context, want func(int) bool, take func(int, []byte) error) error {
		var missing []int
		for _, i := range rand.Perm(len(x.Chunks)) {
			if want(i) {
				missing = append(missing, i)
			}
		}
		if then != nil {
			missing = missing[:len(missing)/2]
		}
		errs := make([]error, 3)
		var group sync.WaitGroup
		for k := range errs {
			group.Go(func() {
				for n := k; n < len(missing) && errs[k] == nil; n += len(errs) {
					i := missing[n]
					data := bytes.Clone(image[x.Start(i):x.Chunks[i].End])
					errs[k] = take(i, data)
					clear(data) // it is the caller's again
				}
			})
		}
		group.Wait()
		return errors.Join(append(errs, then)...)
	}
}

// Chunks that come in any order make the same disk. What was written before the power
// or the network went is not asked for again, and empty chunks never are.
func TestReceive(t *testing.T) {
	image := newImage(t, 1)
	m := newMedium(t)
	old := bytes.Clone(m.data)
	j := job(t, image, "zst")
	gone := errors.New("nobody answers")
	j.Receive = receive(image, j.Index, gone)
	if _, err := Run(t.Context(), m, j); !errors.Is(err, gone) {
		t.Fatalf("Run = %v, want %v", err, gone)
	}
	if !bytes.Equal(m.data[:512], make([]byte, 512)) {
		t.Error("the disk looks like a system")
	}
	all := receive(image, j.Index, nil)
	j.Receive = func(ctx context.Context, want func(int) bool, take func(int, []byte) error) error {
		return all(ctx, func(i int) bool {
			if want(i) && bytes.Equal(m.data[j.Index.Start(i):j.Index.Chunks[i].End], image[j.Index.Start(i):j.Index.Chunks[i].End]) {
				t.Errorf("chunk %d is there, and asked for", i)
			}
			return want(i)
		}, take)
	}
	result, err := Run(t.Context(), m, j)
	if err != nil || result.Kept == 0 || result.Written+result.Kept != imageSize {
		t.Errorf("%+v, %v", result, err)
	}
	wantDisk(t, m, old, image)
	if opened := j.Source.(*servers).opened; len(opened) != 2 {
		t.Errorf("the file was opened at %d, want its head of each run", opened)
	}
}

// A disk that fails while chunks come ends it with the place.
func TestReceiveBadDisk(t *testing.T) {
	image := newImage(t, 1)
	m := newMedium(t)
	broken := errors.New("medium error")
	m.fail = map[int64]error{3 << 20: broken}
	j := job(t, image, "zst")
	j.Receive = receive(image, j.Index, nil)
	if _, err := Run(t.Context(), m, j); !errors.Is(err, broken) {
		t.Errorf("Run = %v, want %v", err, broken)
	}
}
