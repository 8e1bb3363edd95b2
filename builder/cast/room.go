package cast

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/cast"
)

// Room is how far a cast is.
type Room struct {
	State cast.State
	// Pass is the number of the pass, of which Sent chunks of Of were sent.
	Pass, Sent, Of int
	// Rate is in bits per second.
	Rate int64
	// Machines are sorted by their names.
	Machines []Machine
}

// Machine is what is known of one.
type Machine struct {
	cast.Status
	// Address is where its last report came from.
	Address string    `json:"address"`
	Heard   time.Time `json:"heard"`
	// Silent: it has not ended, and is not heard of any more.
	Silent bool `json:"silent,omitzero"`
}

// Room returns the room as it is now.
func (s *Sender) Room() Room {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.now
	for _, m := range s.room {
		one := *m
		one.Silent = !m.Ended() && time.Since(m.Heard) > s.config.Limits.Silent
		room.Machines = append(room.Machines, one)
	}
	slices.SortFunc(room.Machines, func(a, b Machine) int { return strings.Compare(a.Machine, b.Machine) })
	return room
}

// missing returns the chunks that machines at work lack, how many these are, and how
// many machines lack any. Where none has reported yet everything is missing.
func (s *Sender) missing() (runs cast.Runs, n, lacking int) {
	chunks := len(s.config.Image.Table)
	in := make([]bool, chunks)
	known := false
	for _, m := range s.Room().Machines {
		known = true
		lacks, _ := cast.ParseRuns(m.Missing) // DecodeStatus has seen it
		if m.Ended() || m.Silent || len(lacks) == 0 {
			continue
		}
		lacking++
		for _, run := range lacks {
			for i := run.First; i <= run.Last && i < chunks; i++ {
				in[i] = true
			}
		}
	}
	runs = cast.RunsOf(chunks, func(i int) bool { return !known || in[i] })
	for _, run := range runs {
		n += run.Last - run.First + 1
	}
	return runs, n, lacking
}

// judge returns an error that names the machines that are not done.
func (r Room) judge(want int) error {
	var bad []string
	for _, m := range r.Machines {
		if m.Stage != cast.Done {
			bad = append(bad, m.String())
		}
	}
	switch {
	case len(bad) > 0:
		return fmt.Errorf("%w: %d of %d: %s", ErrRoom, len(bad), len(r.Machines), strings.Join(bad, "; "))
	case len(r.Machines) == 0:
		return fmt.Errorf("%w: none has reported", ErrRoom)
	case len(r.Machines) < want:
		return fmt.Errorf("%w: %d of %d have reported", ErrRoom, len(r.Machines), want)
	}
	return nil
}

// String names the machine and says how far it is.
func (m Machine) String() string {
	text := fmt.Sprintf("%s: %s", m.Machine, m.Stage)
	switch {
	case m.Error != "":
		text += ": " + m.Error
	case m.Silent:
		text = fmt.Sprintf("%s: silent since %s, at %s", m.Machine, m.Heard.Format(time.TimeOnly), m.Stage)
	}
	if !m.Ended() && m.Total > 0 {
		text += fmt.Sprintf(", %d %%", 100*m.Have/m.Total)
	}
	return text
}

// ServeHTTP takes reports.
func (s *Sender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != cast.Path {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, cast.MaxStatus))
	if err == nil {
		err = s.take(body, r.RemoteAddr)
	}
	if err != nil {
		http.Error(w, "not a report to this cast", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// errOther says that a report is not for this Sender.
var errOther = errors.New("of another cast, or too many machines")

// take takes a report.
func (s *Sender) take(body []byte, from string) error {
	status, err := cast.DecodeStatus(body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.room[status.Machine]
	if status.Session != s.session || m == nil && len(s.room) >= s.config.Limits.Machines {
		return errOther
	}
	if m == nil {
		m = &Machine{}
		s.room[status.Machine] = m
		s.config.Log("%s has come", status.Machine)
	}
	if m.Stage != status.Stage || m.Have != status.Have || m.Repaired != status.Repaired {
		s.moved = time.Now()
	}
	if m.Stage != status.Stage && status.Ended() {
		s.config.Log("%s", Machine{Status: status})
	}
	m.Status, m.Address, m.Heard = status, from, time.Now()
	select {
	case s.news <- struct{}{}:
	default:
	}
	return nil
}
