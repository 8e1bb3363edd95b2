package power

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
)

// chassis is a Redfish service as DSP0266 and DSP2046 have it, with one or more
// systems. Debian has no Redfish simulator; TestForeignClient has a foreign client
// judge this one.
type chassis struct {
	mu sync.Mutex
	// What kind of service it is.
	systems   []string
	types     []string // of a reset
	info      bool     // types stand at another resource
	targets   []string
	basic     bool // without sessions
	etag      bool // a change must name the version
	noReset   bool
	slowReset time.Duration // how long it takes to be off
	wait      time.Duration // before each answer
	// What became of it.
	state    string
	boot     map[string]string
	did      []string
	sessions int // open
	version  int
}

func newChassis() *chassis {
	return &chassis{
		systems: []string{"1"}, state: "Off", targets: []string{"None", "Pxe", "Hdd", "Cd", "UefiHttp"},
		types: []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart", "PowerCycle"}, boot: map[string]string{},
	}
}

// serve starts it.
func (c *chassis) serve(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /redfish/v1/{$}", func(w http.ResponseWriter, r *http.Request) {
		root := map[string]any{
			"@odata.id": "/redfish/v1/", "@odata.type": "#ServiceRoot.v1_9_0.ServiceRoot", "Id": "RootService", "Name": "Root Service",
			"RedfishVersion": "1.11.0", "Systems": ref("/redfish/v1/Systems"),
		}
		if !c.basic {
			root["SessionService"] = ref("/redfish/v1/SessionService")
			root["Links"] = map[string]any{"Sessions": ref("/redfish/v1/SessionService/Sessions")}
		}
		reply(w, http.StatusOK, root)
	})
	mux.HandleFunc("POST /redfish/v1/SessionService/Sessions", c.login)
	mux.HandleFunc("DELETE /redfish/v1/SessionService/Sessions/7", c.checked(func(w http.ResponseWriter, r *http.Request) {
		c.sessions--
		w.WriteHeader(http.StatusNoContent)
	}))
	mux.HandleFunc("GET /redfish/v1/Systems", c.checked(func(w http.ResponseWriter, r *http.Request) {
		var members []any
		for _, id := range c.systems {
			members = append(members, ref("/redfish/v1/Systems/"+id))
		}
		reply(w, http.StatusOK, map[string]any{
			"@odata.id": "/redfish/v1/Systems", "@odata.type": "#ComputerSystemCollection.ComputerSystemCollection", "Name": "Systems",
			"Members": members, "Members@odata.count": len(members),
		})
	}))
	mux.HandleFunc("GET /redfish/v1/Systems/{id}", c.checked(c.system))
	mux.HandleFunc("PATCH /redfish/v1/Systems/{id}", c.checked(c.patch))
	mux.HandleFunc("GET /redfish/v1/Systems/{id}/ResetActionInfo", c.checked(func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]any{"Parameters": []any{
			map[string]any{"Name": "ResetType", "Required": true, "DataType": "String", "AllowableValues": c.types},
		}})
	}))
	mux.HandleFunc("POST /redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset", c.checked(c.reset))
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(c.wait)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func ref(id string) map[string]string { return map[string]string{"@odata.id": id} }

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("OData-Version", "4.0")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) //nolint:errcheck // a test
}

// fault is an error as DSP0266 has it.
func fault(w http.ResponseWriter, status int, text string) {
	reply(w, status, map[string]any{"error": map[string]any{
		"code": "Base.1.8.GeneralError", "message": "A general error has occurred. See ExtendedInfo for more information.",
		"@Message.ExtendedInfo": []any{map[string]any{"MessageId": "Base.1.8.X", "Message": text}},
	}})
}

func (c *chassis) login(w http.ResponseWriter, r *http.Request) {
	var who struct{ UserName, Password string }
	if c.basic || json.NewDecoder(r.Body).Decode(&who) != nil {
		fault(w, http.StatusMethodNotAllowed, "no sessions")
		return
	}
	if who.UserName != user || who.Password != password {
		fault(w, http.StatusUnauthorized, "The attempt to establish a connection was denied.")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions++
	w.Header().Set("X-Auth-Token", "token-7")
	w.Header().Set("Location", "/redfish/v1/SessionService/Sessions/7")
	reply(w, http.StatusCreated, map[string]any{"@odata.id": "/redfish/v1/SessionService/Sessions/7", "UserName": user})
}

// checked lets in who has logged in.
func (c *chassis) checked(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		u, p, ok := r.BasicAuth()
		if !(ok && u == user && p == password) && (c.sessions == 0 || r.Header.Get("X-Auth-Token") != "token-7") {
			fault(w, http.StatusUnauthorized, "no access")
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodDelete && r.Header.Get("Content-Type") != "application/json" {
			fault(w, http.StatusUnsupportedMediaType, "want JSON")
			return
		}
		next(w, r)
	}
}

func (c *chassis) tag() string { return fmt.Sprintf(`W/"%d"`, c.version) }

func (c *chassis) system(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !slices.Contains(c.systems, id) {
		fault(w, http.StatusNotFound, "no such system")
		return
	}
	at := "/redfish/v1/Systems/" + id
	action := map[string]any{"target": at + "/Actions/ComputerSystem.Reset"}
	if c.info {
		action["@Redfish.ActionInfo"] = at + "/ResetActionInfo"
	} else {
		action["ResetType@Redfish.AllowableValues"] = c.types
	}
	s := map[string]any{
		"@odata.id": at, "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem", "Id": id, "Name": "Room 4", "SystemType": "Physical", "PowerState": c.state,
		"Boot": map[string]any{
			"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI",
			"BootSourceOverrideTarget@Redfish.AllowableValues": c.targets,
		},
	}
	if !c.noReset {
		s["Actions"] = map[string]any{"#ComputerSystem.Reset": action}
	}
	if c.etag {
		w.Header().Set("ETag", c.tag())
	}
	reply(w, http.StatusOK, s)
}

func (c *chassis) patch(w http.ResponseWriter, r *http.Request) {
	var body struct{ Boot map[string]string }
	if c.etag && r.Header.Get("If-Match") != c.tag() {
		fault(w, http.StatusPreconditionFailed, "The ETag supplied did not match")
		return
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil || len(body.Boot) == 0 {
		fault(w, http.StatusBadRequest, "no boot")
		return
	}
	c.boot = body.Boot
	c.version++
	w.WriteHeader(http.StatusNoContent)
}

func (c *chassis) reset(w http.ResponseWriter, r *http.Request) {
	var body struct{ ResetType string }
	if json.NewDecoder(r.Body).Decode(&body) != nil || !slices.Contains(c.types, body.ResetType) {
		fault(w, http.StatusBadRequest, "The value for the parameter ResetType is not in the list of acceptable values.")
		return
	}
	c.did = append(c.did, body.ResetType)
	switch body.ResetType {
	case "On", "ForceOn", "ForceRestart", "PowerCycle":
		c.state = "On"
	case "ForceOff":
		if c.state = "Off"; c.slowReset > 0 {
			c.state = "PoweringOff"
			time.AfterFunc(c.slowReset, func() { c.mu.Lock(); defer c.mu.Unlock(); c.state = "Off" })
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// What is done by each verb, at services of different makes.
func TestRedfish(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*chassis){
		"sessions":       func(*chassis) {},
		"basic":          func(c *chassis) { c.basic = true },
		"action info":    func(c *chassis) { c.info = true },
		"more than it":   func(c *chassis) { c.types = append(c.types, "Nmi", "PushPowerButton") },
		"wants the etag": func(c *chassis) { c.etag = true },
	} {
		c := newChassis()
		change(c)
		d := driverOf(t, config(recipe.DriverRedfish, c.serve(t), nil))
		ctx := t.Context()
		want := func(what State) {
			t.Helper()
			if got, err := d.State(ctx); err != nil || got != what {
				t.Errorf("%s: %q, %v; want %q", name, got, err, what)
			}
		}
		want(IsOff)
		for _, action := range []Action{On, Reset, Cycle, Off} {
			if err := Switch(ctx, d, action); err != nil {
				t.Errorf("%s: %s: %v", name, action, err)
			}
		}
		want(IsOff)
		if diff := cmp.Diff([]string{"On", "ForceRestart", "PowerCycle", "ForceOff"}, c.did); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		for device, target := range map[Device]string{PXE: "Pxe", HTTP: "UefiHttp", Disk: "Hdd", CD: "Cd"} {
			err := d.BootNext(ctx, device)
			diff := cmp.Diff(map[string]string{"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target}, c.boot)
			if err != nil || diff != "" {
				t.Errorf("%s: %s: %v\n%s", name, device, err, diff)
			}
		}
		if c.sessions != 0 {
			t.Errorf("%s: %d sessions are left open", name, c.sessions)
		}
	}
}

// A system that knows no cycle is switched off, waited for and switched on.
func TestRedfishCycle(t *testing.T) {
	t.Parallel()
	c := newChassis()
	c.types, c.state, c.slowReset = []string{"On", "ForceOff", "ForceRestart"}, "On", 300*time.Millisecond
	if err := Switch(t.Context(), driverOf(t, config(recipe.DriverRedfish, c.serve(t), nil)), Cycle); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ForceOff", "On"}, c.did); diff != "" || c.state != "On" {
		t.Errorf("%s: %s", c.state, diff)
	}
	c.slowReset = time.Hour
	slow := driverOf(t, config(recipe.DriverRedfish, c.serve(t), func(c *Config) { c.Seconds = 2 }))
	wantClass(t, "one that never is off", slow.Do(t.Context(), Cycle), ErrSlow)
}

func TestRedfishFailures(t *testing.T) {
	t.Parallel()
	state := func(ctx context.Context, d Driver) error { _, err := d.State(ctx); return err }
	do := func(a Action) func(context.Context, Driver) error {
		return func(ctx context.Context, d Driver) error { return d.Do(ctx, a) }
	}
	next := func(device Device) func(context.Context, Driver) error {
		return func(ctx context.Context, d Driver) error { return d.BootNext(ctx, device) }
	}
	for name, tt := range map[string]struct {
		service func(*chassis)
		config  func(*Config)
		do      func(context.Context, Driver) error
		class   error
		says    string
	}{
		"wrong password":            {nil, func(c *Config) { c.Secret = "hunter3" }, state, ErrPassword, "was denied"},
		"wrong user":                {nil, func(c *Config) { c.User = "nobody" }, state, ErrPassword, "401"},
		"wrong password, basic":     {func(c *chassis) { c.basic = true }, func(c *Config) { c.Secret = "x" }, state, ErrPassword, "no access"},
		"slow":                      {func(c *chassis) { c.wait = 3 * time.Second }, func(c *Config) { c.Seconds = 1 }, state, ErrSlow, ""},
		"several systems":           {func(c *chassis) { c.systems = []string{"Node1", "Node2"} }, nil, state, ErrUnsupported, `["Node1" "Node2"]`},
		"one of several":            {func(c *chassis) { c.systems = []string{"Node1", "Node2"} }, func(c *Config) { c.System = "Node2" }, state, nil, ""},
		"another system":            {nil, func(c *Config) { c.System = "Node9" }, state, ErrUnsupported, `no system "Node9", but ["1"]`},
		"no systems":                {func(c *chassis) { c.systems = nil }, nil, state, ErrUnsupported, ""},
		"no state":                  {func(c *chassis) { c.state = "" }, nil, state, ErrUnsupported, ""},
		"no reset":                  {func(c *chassis) { c.noReset = true }, nil, do(On), ErrUnsupported, ""},
		"a reset that it lacks":     {func(c *chassis) { c.types = []string{"On", "Nmi"} }, nil, do(Reset), ErrUnsupported, "Nmi"},
		"a device that it lacks":    {func(c *chassis) { c.targets = []string{"Pxe"} }, nil, next(HTTP), ErrUnsupported, "Pxe"},
		"a refusal in its words":    {func(c *chassis) { c.info, c.types = false, nil }, nil, do(On), ErrFailed, "not in the list of acceptable"},
		"devices that it says none": {func(c *chassis) { c.targets = nil }, nil, next(HTTP), nil, ""},
	} {
		c := newChassis()
		if tt.service != nil {
			tt.service(c)
		}
		err := tt.do(t.Context(), driverOf(t, config(recipe.DriverRedfish, c.serve(t), tt.config)))
		wantClass(t, name, err, tt.class)
		if err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want %q", name, err, tt.says)
		}
		if c.sessions != 0 {
			t.Errorf("%s: %d sessions are left open", name, c.sessions)
		}
	}
}

// What a controller says comes to a terminal in quotes.
func TestRedfishSays(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault(w, http.StatusInternalServerError, "\x1b[2J"+strings.Repeat("x", 5000))
	}))
	defer srv.Close()
	_, err := driverOf(t, config(recipe.DriverRedfish, srv, nil)).State(t.Context())
	if !errors.Is(err, ErrFailed) || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 500 {
		t.Errorf("%q", err)
	}
}

// TestForeignClient has the client of OpenStack judge the service that the driver is
// tested by: what it can drive is no straw man.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3" // Debian's own, which sees its packages
	if out, err := exec.Command(python, "-c", "import sushy").CombinedOutput(); err != nil {
		t.Fatalf("sushy is needed as an oracle: install the Debian package python3-sushy: %v: %s", err, out)
	}
	for name, change := range map[string]func(*chassis){
		"sessions": func(*chassis) {}, "basic": func(c *chassis) { c.basic = true }, "wants the etag": func(c *chassis) { c.etag = true },
	} {
		c := newChassis()
		change(c)
		srv := c.serve(t)
		cert := filepath.Join(t.TempDir(), "cert.pem")
		if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, "-c", `
import sys, sushy
url, cert, user, password, basic = sys.argv[1:]
auth = sushy.auth.BasicAuth(user, password) if basic == "true" else sushy.auth.SessionAuth(user, password)
root = sushy.Sushy(url, auth=auth, verify=cert)
system = root.get_system_collection().get_members()[0]
print(system.power_state.name)
system.reset_system(sushy.ResetType.ON)
system.reset_system(sushy.ResetType.FORCE_RESTART)
system.set_system_boot_options(target=sushy.BootSource.PXE, enabled=sushy.BootSourceOverrideEnabled.ONCE)
system.refresh()
print(system.power_state.name)
`, srv.URL+"/redfish/v1/", cert, user, password, fmt.Sprint(c.basic))
		cmd.Env = append(os.Environ(), "REQUESTS_CA_BUNDLE="+cert, "NO_PROXY=*") // the desk's own would prevail
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "OFF\nON\n" {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		if diff := cmp.Diff([]string{"On", "ForceRestart"}, c.did); diff != "" || c.boot["BootSourceOverrideTarget"] != "Pxe" {
			t.Errorf("%s: %v\n%s", name, c.boot, diff)
		}
	}
}
