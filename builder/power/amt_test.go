package power

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
)

// engine plays a recording: Intel AMT's answers are those of testdata/amt, which
// says where they are from and what was composed. No AMT was at hand.
type engine struct {
	mu    sync.Mutex
	asked []string // "Get AMT_BootSettingData", "ChangeBootOrder PXE"
	put   string   // what was put
	// edit changes an answer.
	edit  func(action, answer string) string
	stale bool // says once in between that its nonce is too old
	wait  time.Duration
	uses  map[string]int
}

func (e *engine) serve(t *testing.T) *httptest.Server {
	t.Helper()
	e.uses = map[string]int{}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(e.wait)
		e.mu.Lock()
		defer e.mu.Unlock()
		if r.URL.Path != "/wsman" || r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		if stale, ok := e.knows(r); !ok {
			nonce := fmt.Sprintf("nonce-%d", len(e.uses))
			e.uses[nonce] = 0
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Digest realm="Digest:F3EB554784E729164447A89F60B641C5", nonce="%s",stale="%t",qop="auth"`, nonce, stale))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e.answer(t, w, body)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// knows checks who asks, by RFC 2617 as AMT has it.
func (e *engine) knows(r *http.Request) (stale, ok bool) {
	kind, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	p := parameters(rest)
	count, issued := e.uses[p["nonce"]]
	if kind != "Digest" || !issued || p["nc"] != fmt.Sprintf("%08x", count+1) || p["uri"] != "/wsman" {
		return false, false
	}
	e.uses[p["nonce"]]++
	if e.stale && count == 1 {
		e.stale = false
		return true, false
	}
	sum := func(s string) string { h := md5.Sum([]byte(s)); return hex.EncodeToString(h[:]) }
	want := sum(sum(user+":"+p["realm"]+":"+password) + ":" + p["nonce"] + ":" + p["nc"] + ":" + p["cnonce"] + ":auth:" + sum("POST:/wsman"))
	return false, p["username"] == user && p["response"] == want
}

// answer plays what was recorded for a message.
func (e *engine) answer(t *testing.T, w http.ResponseWriter, message []byte) {
	var m struct {
		XMLName xml.Name `xml:"http://www.w3.org/2003/05/soap-envelope Envelope"`
		Header  struct {
			Action   string `xml:"http://schemas.xmlsoap.org/ws/2004/08/addressing Action"`
			Resource string `xml:"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd ResourceURI"`
		}
		Body struct {
			Inner string `xml:",innerxml"`
		}
	}
	if err := xml.Unmarshal(message, &m); err != nil {
		t.Errorf("%v: %s", err, message)
	}
	action, class := path.Base(m.Header.Action), path.Base(m.Header.Resource)
	line, file := action+" "+class, strings.ToLower(action)
	switch line {
	case "Get AMT_BootSettingData":
		file = "settings-get"
	case "Get CIM_AssociatedPowerManagementService":
		file = "state-get"
	case "Put AMT_BootSettingData":
		e.put, file = m.Body.Inner, ""
	default:
		line = action + " " + strings.Join(texts(m.Body.Inner), " ")
	}
	e.asked = append(e.asked, line)
	reply := fmt.Sprintf(`<?xml version="1.0"?><a:Envelope xmlns:a="%s"><a:Header/><a:Body>%s</a:Body></a:Envelope>`, nsSOAP, e.put)
	if file != "" {
		recorded, err := os.ReadFile("testdata/amt/" + file + ".xml")
		if err != nil {
			t.Error(err)
		}
		reply = string(recorded)
	}
	if e.edit != nil {
		reply = e.edit(action, reply)
	}
	w.Header().Set("Content-Type", "application/soap+xml; charset=UTF-8")
	if strings.Contains(reply, ":Fault>") {
		w.WriteHeader(http.StatusBadRequest)
	}
	io.WriteString(w, reply) //nolint:errcheck // a test
}

// texts lists the text of a message's elements, but for references' addresses.
func texts(inner string) []string {
	var all []string
	d := xml.NewDecoder(strings.NewReader(inner))
	for {
		token, err := d.Token()
		if err != nil {
			return all
		}
		if c, ok := token.(xml.CharData); ok && !strings.Contains(string(c), "://") {
			all = append(all, string(c))
		}
	}
}

// TestAMT wants the messages that AMT wants, in the order that counts.
func TestAMT(t *testing.T) {
	t.Parallel()
	e := &engine{stale: true}
	d := driverOf(t, config(recipe.DriverAMT, e.serve(t), nil))
	if state, err := d.State(t.Context()); err != nil || state != IsOn {
		t.Errorf("%q, %v", state, err)
	}
	for _, a := range Actions() {
		if err := d.Do(t.Context(), a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	for _, device := range []Device{PXE, Disk, CD} {
		if err := d.BootNext(t.Context(), device); err != nil {
			t.Errorf("%s: %v", device, err)
		}
	}
	order := func(source string) []string {
		return []string{
			"Get AMT_BootSettingData", "ChangeBootOrder ", "Put AMT_BootSettingData",
			"SetBootConfigRole Intel(r) AMT: Boot Configuration 0 1", "ChangeBootOrder Intel(r) AMT: Force " + source + " Boot",
		}
	}
	want := append([]string{
		"Get CIM_AssociatedPowerManagementService",
		"RequestPowerStateChange 2 CIM_ComputerSystem ManagedSystem", "RequestPowerStateChange 8 CIM_ComputerSystem ManagedSystem",
		"RequestPowerStateChange 5 CIM_ComputerSystem ManagedSystem", "RequestPowerStateChange 10 CIM_ComputerSystem ManagedSystem",
	}, append(order("PXE"), append(order("Hard-drive"), order("CD/DVD")...)...)...)
	if diff := cmp.Diff(want, e.asked); diff != "" {
		t.Error(diff)
	}
	wantClass(t, "HTTP boot", d.BootNext(t.Context(), HTTP), ErrUnsupported)
}

// What AMT could be told to do at the next start, and must not be, is put off.
func TestAMTClearsOptions(t *testing.T) {
	t.Parallel()
	e := &engine{edit: func(action, answer string) string {
		for _, option := range []string{"BIOSSetup", "BIOSPause", "UseSOL", "UseIDER", "SecureErase", "PlatformErase", "ReflashBIOS", "ConfigurationDataReset"} {
			if action == "Get" {
				answer = strings.Replace(answer, "<g:"+option+">false", "<g:"+option+">true", 1)
			}
		}
		return strings.Replace(answer, "<g:BootMediaIndex>0", "<g:BootMediaIndex>2", 1)
	}}
	if err := driverOf(t, config(recipe.DriverAMT, e.serve(t), nil)).BootNext(t.Context(), PXE); err != nil {
		t.Fatal(err)
	}
	var put node
	if err := xml.Unmarshal([]byte(e.put), &put); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(e.put, "true") || strings.Contains(e.put, ">2<") || put.find("InstanceID") != "Intel(r) AMT:BootSettingData 0" || put.find("OwningEntity") != "Intel(r) AMT" {
		t.Errorf("%s", e.put)
	}
	for _, name := range readOnly {
		if strings.Contains(e.put, ":"+name+">") {
			t.Errorf("%s is put, which AMT does not take", name)
		}
	}
	if len(put.Nodes) != 24 {
		t.Errorf("%d settings are put: %s", len(put.Nodes), e.put)
	}
}

func TestAMTFailures(t *testing.T) {
	t.Parallel()
	value := func(n string) func(string, string) string {
		return func(_, answer string) string {
			return strings.Replace(answer, "ReturnValue>0<", "ReturnValue>"+n+"<", 1)
		}
	}
	state := func(n string) func(string, string) string {
		return func(_, answer string) string { return strings.Replace(answer, "PowerState>2<", "PowerState>"+n+"<", 1) }
	}
	const fault = `<a:Envelope xmlns:a="` + nsSOAP + `"><a:Body><a:Fault><a:Code><a:Value>a:Sender</a:Value></a:Code><a:Reason><a:Text>The sender was not authorized to access the resource.` + "\x1b" + `</a:Text></a:Reason></a:Fault></a:Body></a:Envelope>`
	for name, tt := range map[string]struct {
		edit   func(action, answer string) string
		wait   time.Duration
		config func(*Config)
		class  error
		says   string
	}{
		"wrong password": {config: func(c *Config) { c.Secret = "hunter3" }, class: ErrPassword},
		"wrong user":     {config: func(c *Config) { c.User = "" }, class: ErrPassword},
		"slow":           {wait: 3 * time.Second, config: func(c *Config) { c.Seconds = 1 }, class: ErrSlow},
		"no method":      {edit: value("1"), class: ErrUnsupported, says: "ChangeBootOrder"},
		"busy":           {edit: value("2"), class: ErrFailed, says: `ChangeBootOrder returned "2"`},
		"a fault":        {edit: func(string, string) string { return strings.ReplaceAll(fault, "\x1b", "") }, class: ErrFailed, says: "not authorized"},
		"control codes":  {edit: func(string, string) string { return fault }, class: ErrFailed},
		"no XML":         {edit: func(string, string) string { return "{}" }, class: ErrFailed},
		"an empty body": {edit: func(string, string) string {
			return `<a:Envelope xmlns:a="` + nsSOAP + `"><a:Body/></a:Envelope>`
		}, class: ErrFailed},
		"other state": {edit: state("9"), class: nil},
	} {
		e := &engine{edit: tt.edit, wait: tt.wait}
		d := driverOf(t, config(recipe.DriverAMT, e.serve(t), tt.config))
		err := d.BootNext(t.Context(), PXE)
		wantClass(t, name, err, tt.class)
		if err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\x1b")) {
			t.Errorf("%s: %q", name, err)
		}
	}
	for n, want := range map[string]State{"2": IsOn, "8": IsOff, "6": IsOff, "4": "asleep", "9": `state "9"`} {
		e := &engine{edit: state(n)}
		if got, err := driverOf(t, config(recipe.DriverAMT, e.serve(t), nil)).State(t.Context()); err != nil || got != want {
			t.Errorf("PowerState %s: %q, %v", n, got, err)
		}
	}
}

// The example of RFC 7616, 3.9.1.
func TestDigest(t *testing.T) {
	d := digest{user: "Mufasa", password: "Circle of Life"}
	for algorithm, want := range map[string]string{
		"MD5":     "8ca523f5e9506fed4657c9700eebdbec",
		"SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	} {
		d.nonce = ""
		fresh, err := d.challenge([]string{"Basic realm=x", `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=` + algorithm +
			`, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`})
		if err != nil || !fresh {
			t.Errorf("%t, %v", fresh, err)
		}
		got := d.response("GET", "/dir/index.html", "00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
		if got != want {
			t.Errorf("%s: %s, want %s", algorithm, got, want)
		}
		if h := d.authorize("GET", "/"); !strings.Contains(h, `opaque="FQhe/`) || !strings.Contains(h, "nc=00000001") {
			t.Errorf("%s", h)
		}
	}
	for _, h := range []string{"", "Basic realm=x", `Digest realm="x", qop="auth-int", nonce="y"`, `Digest realm="x", qop="auth", nonce=""`, `Digest nonce="x", qop="auth", algorithm=MD5-sess`} {
		if _, err := d.challenge([]string{h}); err == nil {
			t.Errorf("%q is taken", h)
		}
	}
}

// A challenge is a stranger's.
func FuzzParameters(f *testing.F) {
	f.Add(`realm="a\"b", nonce=x , qop="auth"`)
	f.Add(`a="`)
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range parameters(text) {
			if len(name)+len(value) > 3*len(text) { // a byte that is no UTF-8 becomes U+FFFD in a name
				t.Errorf("%q: %q", name, value)
			}
		}
	})
}
