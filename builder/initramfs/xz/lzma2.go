package xz

const (
	// maxPacked and maxPlain are what a chunk's two size fields can express.
	maxPacked = 64 << 10
	maxPlain  = 2 << 20
	// A chunk ends between two stretches of parsing. One stretch has at most
	// stretch+maxLen bytes, which never become more than half as much again.
	packedEnough = maxPacked - 2*(stretch+maxLen)
	plainEnough  = maxPlain - (stretch + maxLen)
)

// Control bytes of chunks (xz_dec_lzma2.c, xz_dec_lzma2_run).
const (
	chunkEnd        = 0x00
	chunkPlainFirst = 0x01 // not compressed, resets the dictionary
	chunkPlain      = 0x02 // not compressed
	chunkPacked     = 0x80 // goes on where the chunk before ended
	chunkReset      = 0xa0 // with fresh probabilities
	chunkProps      = 0xc0 // the same, and tells the properties
	chunkFirst      = 0xe0 // the same, with a new dictionary
)

// appendLZMA2 appends data as chunks of LZMA2.
func appendLZMA2(out, data []byte) []byte {
	e := newEncoder(data)
	kind := byte(chunkFirst)
	for start := 0; start < len(data); start = e.pos {
		e.rc.reset()
		for e.pos < len(data) && e.pos-start < plainEnough && e.rc.size() < packedEnough {
			e.encode(e.parse())
		}
		e.rc.flush()
		chunk := data[start:e.pos]
		if len(e.rc.out) < len(chunk) {
			out = appendPacked(out, kind, len(chunk), e.rc.out)
			kind = chunkPacked
			continue
		}
		out = appendPlain(out, kind == chunkFirst, chunk)
		e.model.reset()
		if kind >= chunkProps {
			kind = chunkProps
		} else {
			kind = chunkReset
		}
	}
	return append(out, chunkEnd)
}

// appendPacked appends a compressed chunk that holds n bytes.
func appendPacked(out []byte, kind byte, n int, packed []byte) []byte {
	n--
	size := len(packed) - 1
	out = append(out, kind|byte(n>>16), byte(n>>8), byte(n), byte(size>>8), byte(size))
	if kind >= chunkProps {
		out = append(out, (pb*5+lp)*9+lc)
	}
	return append(out, packed...)
}

// appendPlain appends a chunk as it is.
func appendPlain(out []byte, first bool, chunk []byte) []byte {
	kind := byte(chunkPlain)
	if first {
		kind = chunkPlainFirst
	}
	n := len(chunk) - 1
	return append(append(out, kind, byte(n>>8), byte(n)), chunk...)
}
