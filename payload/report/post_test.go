package report

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
)

// answering returns a server that answers with a status and counts.
func answering(t *testing.T, status int) (url string, bodies *[][]byte) {
	t.Helper()
	bodies = new([][]byte)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*bodies = append(*bodies, body)
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/" + Path, bodies
}

func TestPost(t *testing.T) {
	rec, _ := recorder()
	r := rec.Report(Waiting, identity, noon)
	takes, taken := answering(t, 204)
	plain, _ := answering(t, 405)
	lacks, _ := answering(t, 404)
	broken, _ := answering(t, 500)
	down := evil.Down(t) + "/" + Path
	for name, tt := range map[string]struct {
		urls  []string
		posts int
		class error
	}{
		"the first takes it":    {[]string{takes, broken, takes}, 1, nil},
		"the last takes it":     {[]string{down, plain, broken, takes}, 1, nil},
		"plain web servers":     {[]string{plain, lacks}, 0, ErrNotTaken},
		"one is broken":         {[]string{plain, broken}, 0, fetch.ErrUnreachable},
		"nobody there":          {[]string{down}, 0, fetch.ErrUnreachable},
		"nobody to be asked":    {nil, 0, ErrNotTaken},
		"credentials in a URL":  {[]string{"http://u:hush@h/"}, 0, fetch.ErrRefused},
		"one that cannot be it": {[]string{"nonsense", takes}, 1, nil},
	} {
		*taken = nil
		client := fetch.New(fetch.DefaultLimits())
		err := Post(t.Context(), client, tt.urls, r)
		client.Close()
		if !errors.Is(err, tt.class) || (err == nil) != (tt.class == nil) || len(*taken) != tt.posts {
			t.Errorf("%s: error %v, %d posts", name, err, len(*taken))
		}
		if tt.class != ErrNotTaken && errors.Is(err, ErrNotTaken) || err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: error %q", name, err)
		}
		for _, body := range *taken {
			got, err := Decode(body)
			if diff := cmp.Diff(r, got); err != nil || diff != "" {
				t.Errorf("%s: %v\n%s", name, err, diff)
			}
		}
	}
}

// Servers that say nothing cost a known time. It is real time: the connections
// are, too.
func TestPostIsBounded(t *testing.T) {
	t.Parallel()
	quiet := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-quiet }))
	defer srv.Close()
	defer close(quiet)
	rec, _ := recorder()
	start := time.Now()
	err := Post(t.Context(), fetch.New(fetch.DefaultLimits()), []string{srv.URL}, rec.Report(Waiting, identity, noon))
	if !errors.Is(err, fetch.ErrUnreachable) || !strings.Contains(err.Error(), "no answer within 5s") {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}
