package boot

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// late makes a site answer its statements last, after the others.
func late(pause time.Duration) evil.Fault { return evil.On("/trust/2.json", evil.Late(pause)) }

// A mirror that is stale, however fast and wherever in the list, does not hold
// machines back at what was once genuine.
func TestNewestManifest(t *testing.T) {
	l := newSimLab(t)
	l.manifest.Entries["old"] = manifest.Entry{Title: "Old", Linux: &manifest.Linux{Kernel: object.OfBytes(first)}}
	l.manifest.Default = []string{"old"}
	stale := l.publish(t, 11)
	l.manifest.Default = []string{"installer"}
	fresh := l.publish(t, 12)
	l.sites = []string{stale.URL}
	l.badSite(t, fresh.files, late(200*time.Millisecond))
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "manifest: version 12 ", "manifest: "+stale.URL+" has version 11 of epoch 1, which is older")
	if len(l.said("manifest: version 11")) != 0 {
		t.Error("the stale one was tried")
	}
}

// A site that does not answer in time is not waited for; it still counts where
// the others lead nowhere.
func TestLateSite(t *testing.T) {
	for name, c := range map[string]struct {
		others []string // the default of the other site
		want   string
	}{
		"is not waited for": {[]string{"installer"}, "manifest: version 12 "},
		"is the only good":  {nil, "manifest: version 13 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newSimLab(t)
			l.limits.Gather = 20 * time.Millisecond
			newest := l.publish(t, 13)
			l.manifest.Default = c.others
			l.manifest.Machines = []manifest.Machine{{Match: manifest.Match{Serial: "XYZ"}, Boot: []string{"installer"}}}
			l.publish(t, 12)
			l.sites = l.sites[1:]
			l.badSite(t, newest.files, late(time.Second))
			handedOver(t, l.lab, l.run(t))
			saw(t, l.lab, c.want)
		})
	}
}

// A site whose own statements lead nowhere is judged by those of the others, and
// a thief's whose site hides them, too, although it is the first to answer.
func TestStatementsOfAllSites(t *testing.T) {
	l := newSimLab(t)
	thief := l.publish(t, 13)
	l.sim.Revoke(l.sim.Manifest)
	honest := l.publish(t, 1)
	l.sites = []string{thief.URL}
	l.badSite(t, honest.files, late(200*time.Millisecond))
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "manifest: [untrusted] "+thief.URL, "manifest: version 1 of epoch 2", "mirror "+thief.URL+" is condemned")
}

// Genuine sites without the objects, and without an entry for this machine, do
// not hide the good one, which is older. A mirror's manifest is not tried twice.
func TestNextSiteAfterStale(t *testing.T) {
	l := newSimLab(t)
	current := l.manifest
	gone := object.OfBytes([]byte("gone"))
	l.manifest.Entries = map[string]manifest.Entry{"installer": {Title: "Gone", Linux: &manifest.Linux{Kernel: gone}}}
	mirrored := l.publish(t, 14)
	l.site(t, mirrored.files)
	l.manifest = current
	l.manifest.Machines = []manifest.Machine{{Match: manifest.Match{Serial: "XYZ"}, Boot: []string{"installer"}}}
	l.manifest.Default = nil
	l.publish(t, 13)
	l.manifest = current
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "installer: [not-found] kernel: object "+gone.SHA256.String(), "choose: [no-entry] ", "manifest: version 14 ")
	if log := strings.Join(l.lines, "\n"); strings.Count(log, "the same manifest as before") != 1 {
		t.Errorf("log:\n%s", log)
	}
	if l.opened != 1 {
		t.Errorf("that took %d rounds", l.opened)
	}
}

// Two genuine manifests of one version are told, and one of them boots.
func TestEquivocationOfSites(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	l.manifest.Entries["other"] = l.manifest.Entries["installer"]
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "manifest: [equivocation] ", "manifest: version 12 ")
}

// A site that breaks the program that judges it is one site less.
func TestSiteThatCrashes(t *testing.T) {
	l := newSimLab(t)
	medium := Medium{Store: l.keys.Store}
	medium.Site = []string{"http://a"}
	b := newBoot(l.rooms(), medium, quick())
	b.documents = nil // whoever asks for one panics
	v := <-b.visitAll(t.Context())
	if found := b.judgeAll(t.Context(), []*visit{v}, nil); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	saw(t, l.lab, "manifest: [crashed] http://a: the agent crashed (judging a site): runtime error: invalid memory address", "goroutine ")
}

// A server that dies in the middle of an object is followed by another one, which
// goes on from there, and one that gives wrong bytes by the next.
func TestObjectsAcrossMirrors(t *testing.T) {
	l := newSimLab(t)
	big := bytes.Repeat([]byte("kernel"), 200_000)
	ref := object.OfBytes(big)
	l.manifest.Entries["installer"].Linux.Kernel = ref
	s := l.publish(t, 12)
	s.put(ref.Path(), big)
	l.sites = nil
	kernelPath, slow := "/"+ref.Path(), evil.On("/"+manifest.File, evil.Late(100*time.Millisecond))
	l.badSite(t, s.files, evil.On(kernelPath, evil.First(1, evil.Cut(len(big)/2))), evil.On(kernelPath, evil.After(1, evil.Status(http.StatusServiceUnavailable))))
	wrong := l.badSite(t, s.files, slow, evil.On("/"+object.OfBytes(second).Path(), evil.Flip(3)), evil.On(kernelPath, evil.Flip(3)))
	good := l.badSite(t, s.files, slow)
	if err := l.run(t); err != nil || l.executed != 1 || l.loaded[0].image != string(big) || l.loaded[0].initrd != booted[0].initrd {
		t.Fatalf("%v:\n%s", err, strings.Join(l.lines, "\n"))
	}
	resumed := 0
	for _, r := range append(good.Requests(), wrong.Requests()...) {
		if r.URL.Path == kernelPath && r.Header.Get("Range") != "" {
			resumed++
		}
	}
	if resumed == 0 {
		t.Errorf("nobody was asked for the second half:\n%s", strings.Join(l.lines, "\n"))
	}
	if n := len(l.said("obtain: ")); n != 3 {
		t.Errorf("%d objects:\n%s", n, strings.Join(l.lines, "\n"))
	}
}
