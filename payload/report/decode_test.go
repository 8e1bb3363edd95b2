package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/object"
)

// sample returns the bytes of a report that has everything.
func sample(t testing.TB) []byte {
	t.Helper()
	r, up := recorder()
	end := r.Stage("manifest")
	up.pass(1e9)
	r.Fail("manifest", "untrusted", "no good signature")
	end()
	r.Believes(1)
	r.Accepted(1, 2)
	r.Chosen("installer")
	r.Object("kernel", object.Ref{Size: 5, SHA256: object.ID{9}}, 7e9, "http://a:1/x")
	id := identity
	id.Serial = "S/N 1"
	data, err := Encode(r.Report(Waiting, id, noon))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// One defect each: what a server is sent by anybody.
func TestDecodeRefuses(t *testing.T) {
	good := string(sample(t))
	for name, edit := range map[string][2]string{
		"other format":          {`"format":1`, `"format":2`},
		"no format":             {`"format":1,`, ``},
		"unknown field":         {`"format":1`, `"format":1,"more":1`},
		"field twice":           {`"format":1`, `"format":1,"format":1`},
		"upper case":            {`"format":1`, `"Format":1`},
		"null":                  {`"entry":"installer"`, `"entry":null`},
		"boot with a path":      {bootID, "../../../../../../../../../etc/passwd"},
		"boot of another shape": {bootID, strings.ToUpper(bootID)},
		"no boot":               {`"boot":"` + bootID + `",`, ``},
		"uuid with a path":      {machID, "../4544-0042-3510-8050-b4c04f4d5931"},
		"uuid of everybody":     {machID, "ffffffff-ffff-ffff-ffff-ffffffffffff"},
		"mac in upper case":     {machMAC, "52:54:00:AA:34:56"},
		"empty mac":             {`["` + machMAC + `"]`, `["` + machMAC + `",""]`},
		"serial with a line":    {"S/N 1", `S/N\n1`},
		"long serial":           {"S/N 1", strings.Repeat("1", 65)},
		"no machine":            {`{"uuid":"` + machID + `","serial":"S/N 1","macs":["` + machMAC + `"]}`, `{}`},
		"33 MACs":               {`["` + machMAC + `"]`, `["` + machMAC + `"` + strings.Repeat(`,"`+machMAC+`"`, 32) + `]`},
		"outcome":               {`"waiting"`, `"\u001b[2J"`},
		"escape in the model":   {"QEMU Standard PC", `QEMU\u001b]0;x\u0007`},
		"bidi in the text":      {"no good signature", `no \u202egood`},
		"DEL in the entry":      {`"entry":"installer"`, `"entry":"a\u007f"`},
		"line in the product":   {`"product":"demo"`, `"product":"a\nb"`},
		"medium too long":       {"97a88a30ea012ae7", strings.Repeat("9", 65)},
		"text too long":         {"no good signature", strings.Repeat("n", 513)},
		"code with blanks":      {`"code":"untrusted"`, `"code":"un trusted"`},
		"text without a code":   {`"code":"untrusted",`, ``},
		"negative version":      {`"version":2`, `"version":-2`},
		"version beyond int64":  {`"version":2`, `"version":9223372036854775808`},
		"fraction":              {`"version":2`, `"version":2.5`},
		"negative duration":     {`"ms":1000`, `"ms":-1`},
		"stage without a name":  {`"name":"manifest"`, `"name":""`},
		"escape in a stage":     {`"name":"manifest"`, `"name":"m\u001b[2J"`},
		"long name of a stage":  {`"name":"manifest"`, `"name":"` + strings.Repeat("m", 65) + `"`},
		"escape in a host":      {"a:1", `a\u001b`},
		"negative size":         {`"size":5`, `"size":-5`},
		"short hash":            {`"sha256":"09`, `"sha256":"9`},
		"not UTF-8":             {"QEMU", "\xff"},
		"year 10000":            {"2026-11-22T", "10000-11-22T"},
		"profile too long":      {`"stages":[`, `"profile":"` + strings.Repeat("AAAA", MaxProfile/3+1) + `","stages":[`},
		"too many stages":       {`"stages":[`, `"stages":[` + strings.Repeat(`{"name":"x","start_ms":0,"ms":0},`, 256)},
		"too many objects":      {`"objects":[`, `"objects":[` + strings.Repeat(`{"what":"x","size":0,"sha256":"`+strings.Repeat("0", 64)+`","ms":0},`, 64)},
		"more behind it":        {"}\n", "}\n{}"},
		"beyond the cap":        {"}\n", "}\n" + strings.Repeat(" ", MaxSize)},
	} {
		if n := strings.Count(good, edit[0]); n == 0 {
			t.Errorf("%s: %q is not in %s", name, edit[0], good)
		}
		if r, err := Decode([]byte(strings.Replace(good, edit[0], edit[1], 1))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, %+v", name, err, r)
		} else if bytes.ContainsFunc([]byte(err.Error()), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: the error itself has escape codes: %q", name, err)
		}
	}
	if _, err := Decode([]byte(good)); err != nil {
		t.Error(err)
	}
	for n := range len(good) - 1 {
		if _, err := Decode([]byte(good[:n])); err == nil {
			t.Errorf("the first %d bytes are a report", n)
		}
	}
}

// Whatever is sent, what Decode lets through is fit for a terminal and a file
// name, and is the same after another round.
func FuzzReport(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data)
		if err != nil {
			return
		}
		if id := r.Machine.ID(); id == "" || len(id) > 135 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Fatalf("machine id %q", id)
		}
		again, err := Encode(r)
		if err != nil {
			if len(data) > MaxSize/2 { // other spellings can be shorter
				return
			}
			t.Fatal(err)
		}
		for _, c := range bytes.TrimSuffix(again, []byte("\n")) {
			if c < ' ' || c > '~' {
				t.Fatalf("byte %#x in %s", c, again)
			}
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatal(err)
		}
		r.Time = back.Time // whole seconds, UTC
		if diff := cmp.Diff(r, back); diff != "" {
			t.Fatal(diff)
		}
	})
}
