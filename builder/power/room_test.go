package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/manifest"
)

const room = `kind: site
entries: {disk: {title: Installed, local: {}}}
groups:
  room-4: {boot: [disk], power: {driver: ipmi, user: admin, password: {file: bmc}}, match: [{mac: "52:54:00:00:04:09"}]}
machines:
  - {name: room-4-01, group: room-4, match: {mac: "52:54:00:00:04:01"}, power: {address: 192.0.2.1}}
  - {name: room-4-02, group: room-4, match: {mac: "52:54:00:00:04:02"}, power: {driver: redfish, address: 192.0.2.2, password: {file: bmc}, ca: bmc.pem}}
  - {name: kiosk, match: {serial: K7}, boot: [disk], power: {driver: amt, address: 192.0.2.3, password: {env: FARBOOT_TEST_UNSET}}}
  - {match: {uuid: 4C4C4544-0042-3510-8050-B4C04F4D5931}, boot: [disk]}
`

func TestTargets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("bmc", password+"\n")
	r, err := recipe.Parse(filepath.Join(dir, "x.yaml"), []byte(room))
	if err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string][]string{
		"room-4-01":                            {"room-4-01 ok"},
		"room-4":                               {"room-4-01 ok", "room-4-02 ca: open", `52:54:00:00:04:09 ipmi needs the controller's "address:"`},
		"room-4-01 room-4-01":                  {"room-4-01 ok"},
		"52-54-00-00-04-01":                    {"room-4-01 ok"},
		"K7 room-4-01":                         {`kiosk password: variable "FARBOOT_TEST_UNSET" is not set`, "room-4-01 ok"},
		"4C4C4544-0042-3510-8050-B4C04F4D5931": {"4c4c4544-0042-3510-8050-b4c04f4d5931 " + ErrNone.Error()},
	} {
		targets, err := Targets(r, strings.Fields(words))
		if err != nil {
			t.Errorf("%s: %v", words, err)
		}
		var got []string
		for _, target := range targets {
			text := "ok"
			if target.Err != nil {
				text = strings.TrimSuffix(target.Err.Error()+" ", " ")
				text, _, _ = strings.Cut(text, " "+dir)
			} else if target.Driver == nil {
				text = "neither driver nor error"
			}
			got = append(got, target.Label+" "+text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", words, diff)
		}
	}
	var unknown *UnknownError
	if _, err := Targets(r, []string{"room-4-01", "room-5"}); !errors.As(err, &unknown) || unknown.Word != "room-5" || len(unknown.Known) != 4 {
		t.Errorf("%v", err)
	}
	write("bmc.pem", "nonsense")
	if targets, err := Targets(r, []string{"room-4-02"}); err != nil || targets[0].Err == nil || !strings.Contains(targets[0].Err.Error(), "no certificate") {
		t.Errorf("%v, %v", targets, err)
	}
	targets, _ := Targets(r, []string{"room-4-01"})
	id := manifest.Identity{UUID: "x", MACs: []string{"52:54:00:ff:ff:ff", "52:54:00:00:04:01"}}
	if !targets[0].Identifies(id) || targets[0].Identifies(manifest.Identity{MACs: id.MACs[:1]}) {
		t.Error("a machine is not told by one of its cards")
	}
}

// Of a room nobody is left out, not who failed and not who has no driver, and no
// more are talked to at a time than may be.
func TestAll(t *testing.T) {
	var targets []Target
	for i := range 100 {
		target := Target{Label: fmt.Sprint(i)}
		if i%10 == 3 {
			target.Err = ErrNone
		}
		targets = append(targets, target)
	}
	var mu sync.Mutex
	now, most := 0, 0
	results := All(t.Context(), targets, 7, func(_ context.Context, target Target) (State, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		now--
		mu.Unlock()
		if strings.HasSuffix(target.Label, "5") {
			return "", ErrSlow
		}
		return IsOn, nil
	})
	for i, r := range results {
		want := map[int]error{3: ErrNone, 5: ErrSlow}[i%10]
		if r.Label != fmt.Sprint(i) || !errors.Is(r.Err, want) || (want == nil) != (r.Err == nil) || want == nil && r.State != IsOn {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if len(results) != 100 || most > 7 || most < 2 {
		t.Errorf("%d results, %d at a time", len(results), most)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, r := range All(ctx, targets[:3], 7, func(context.Context, Target) (State, error) { t.Error("called"); return "", nil }) {
		if !errors.Is(r.Err, context.Canceled) {
			t.Errorf("%v", r.Err)
		}
	}
}
