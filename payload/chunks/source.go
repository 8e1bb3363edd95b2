package chunks

import (
	"context"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/fetch"
)

// source is where the chunks of an image lie.
type source struct {
	mirrors *fetch.Mirrors
	unpack  *Unpacker
	index   *caibx.Index
	// castr is the folder with a file for each chunk. Without it the chunks lie in
	// one file, of size bytes, each where starts says, and are packed; where starts
	// is nil they are as they are.
	castr  string
	file   string
	size   int64
	starts []int64
}

// together tells whether chunks can be asked for in one request.
func (s *source) together() bool { return s.castr == "" }

// pipes is how many requests take the place of one for so many bytes: in a tree each
// chunk is a request of its own, and fewer of them under way would make it slow where
// latency counts (three at a time, 1 MiB each, are 120 MB/s at 20 ms).
func (s *source) pipes(request int64) int {
	const most = 4 // a server has other machines to serve
	if s.together() || s.index.Max == 0 {
		return 1
	}
	return int(min(max(request/s.index.Max, 1), most))
}

// fetch asks for n chunks from the first on and hands on each of them, checked and
// in order. packed is the same as a .cacnk file has it, until take returns.
func (s *source) fetch(ctx context.Context, first, n int, take func(i int, data, packed []byte)) error {
	if s.castr != "" {
		for i := first; i < first+n; i++ {
			id := s.index.Chunks[i].ID
			p := fetch.Pieces{Name: s.castr + "/" + ChunkPath(id), Lens: []int64{MaxPacked(s.index.Len(i))}}
			if err := s.pieces(ctx, p, i, take); err != nil {
				return err
			}
		}
		return nil
	}
	p := fetch.Pieces{Name: s.file, Size: s.size, Offset: s.start(first)}
	for i := first; i < first+n; i++ {
		p.Lens = append(p.Lens, s.start(i+1)-s.start(i))
	}
	return s.pieces(ctx, p, first, take)
}

// start is where chunk i begins in the file.
func (s *source) start(i int) int64 {
	if s.starts != nil {
		return s.starts[i]
	}
	return s.index.Start(i)
}

// pieces asks for chunks that are the pieces of p.
func (s *source) pieces(ctx context.Context, p fetch.Pieces, first int, take func(i int, data, packed []byte)) error {
	p.Take = func(k int, piece []byte) error {
		i := first + k
		id, n := s.index.Chunks[i].ID, s.index.Len(i)
		if s.castr == "" && s.starts == nil {
			if err := check(piece, id, n); err != nil {
				return err
			}
			take(i, append([]byte(nil), piece...), nil)
			return nil
		}
		data, err := s.unpack.Unpack(piece, id, n)
		if err == nil {
			take(i, data, piece)
		}
		return err
	}
	return s.mirrors.Pieces(ctx, p)
}
