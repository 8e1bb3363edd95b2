package chunks

// profile is what a Reader knows of its boot. Reader.mu guards it.
type profile struct {
	order  Profile // what was read, for the next boot
	read   []bool  // by chunk
	coming Profile // what an earlier boot read, as far as it is still to be brought
	unread int64   // bytes of chunks that were brought for it, and not asked for yet
	missed int     // reads that wait for what was not brought
}

// Profile returns what was read so far as a file of at most so many bytes, see
// [Profile]: of a longer one the beginning. It is for the next boot.
func (r *Reader) Profile(most int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	order := r.profile.order
	for {
		data := order.Encode(r.id)
		if len(data) <= most || len(order) == 0 {
			return data
		}
		order = order[:len(order)*most/(len(data)+1)]
	}
}

// follow says what will be read.
func (r *Reader) follow(p Profile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range p {
		if r.config.Cache == nil || !r.config.Cache.Has(r.index.Chunks[i].ID) { // from there it is fast
			r.profile.coming = append(r.profile.coming, i)
		}
	}
	r.bring()
}

// asked remembers that a chunk was asked for.
func (p *profile) asked(i int) {
	if !p.read[i] && len(p.order) < MaxProfile {
		p.order = append(p.order, i)
	}
	p.read[i] = true
}

// used says that a chunk which was brought for the profile was asked for, or dropped.
func (p *profile) used(c *chunk) {
	if c.ahead {
		p.unread -= c.size
	}
	c.ahead = false
}

// bring starts requests for what the profile says comes next, as far as half of the
// memory holds what nobody has asked for yet. It stands back for reads: for those that
// wait for something else, and by the request that is kept for them.
func (r *Reader) bring() {
	p, half := &r.profile, r.config.Limits.Memory/2
	for len(p.coming) > 0 && p.missed == 0 && r.ctx.Err() == nil {
		first := p.coming[0]
		if p.read[first] || r.held[r.index.Chunks[first].ID] != nil {
			p.coming = p.coming[1:]
			continue
		}
		if max(p.unread, r.coming)+r.config.Limits.Request > half || len(r.slots) >= cap(r.slots)-1 {
			return
		}
		select {
		case r.slots <- struct{}{}:
		default:
			return
		}
		n := 1
		for n < len(p.coming) && p.coming[n] == first+n {
			n++
		}
		run := r.run(first, first+n-1)
		for _, c := range run {
			c.ahead = true
			p.unread += c.size
		}
		p.coming = p.coming[len(run):]
		r.start(first, run, true)
	}
}
