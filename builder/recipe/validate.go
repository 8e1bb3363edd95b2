package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
)

// Shapes of what a recipe may name. All are anchored and ASCII.
var (
	// debName follows Debian policy 5.6.1.
	debName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	// suiteName covers "bookworm", "bookworm-backports", "24.04".
	suiteName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
	// moduleName covers module sets and modules, by either spelling of "-".
	moduleName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]*$`)
	// consoleName follows Documentation/admin-guide/serial-console.rst, for the
	// devices that an x86-64 machine has.
	consoleName = regexp.MustCompile(`^(tty[0-9]{1,2}|hvc[0-9]|ttyS[0-9]{1,2}(,[0-9]{3,7}([neo][78]?r?)?)?)$`)
)

// Bounds of the numbers in a recipe.
const (
	maxTimeout   = 3600 // seconds; an hour at the menu is a person, not a boot
	maxValidDays = 3650 // ten years; more is not an expiry
)

// validator checks what a decoded recipe means and fills in defaults. It keeps
// the first mistake, in the order of the checks.
type validator struct {
	*decoder
	first *Error
}

// err returns the first mistake.
func (v *validator) err() error {
	if v.first == nil {
		return nil
	}
	return v.first
}

// fail records a mistake in a field. A field that is not written is reported
// where the nearest key around it stands.
func (v *validator) fail(field, hint, format string, args ...any) {
	if v.first != nil {
		return
	}
	at := field
	for v.lines[at] == 0 {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	v.first = &Error{Path: v.path, Line: v.lines[at], Field: field, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// hinted records err, if there is one, as a mistake in a field, with a hint.
func (v *validator) hinted(field, hint string, err error) {
	if err != nil {
		v.fail(field, hint, "%v", err)
	}
}

// atMost records a list with too much in it.
func (v *validator) atMost(field string, have, most int) {
	if have > most {
		v.fail(field, "", "%d items, at most %d", have, most)
	}
}

// try records err, if there is one, as a mistake in a field.
func (v *validator) try(field string, err error) {
	v.hinted(field, "", err)
}

// medium validates a recipe of kind "medium".
func (v *validator) medium(m *Medium) {
	orDefault(&m.Compression, "xz")
	orDefault(&m.Channel, "stable")
	if len(m.Console) == 0 {
		m.Console = []string{"tty0", "ttyS0,115200"}
	}
	if len(m.Menu) == 0 {
		m.Menu = []MenuEntry{{Title: "Ask the site", Agent: &AgentEntry{}}}
	}
	v.try("name", manifest.CheckName(m.Name))
	v.try("channel", manifest.CheckName(m.Channel))
	v.try("cmdline", manifest.CheckCmdline(m.Cmdline))
	v.apt(&m.Apt)
	v.kernel(&m.Kernel)
	v.oneOf("compression", m.Compression, "xz", "zstd")
	v.pathText("trust", m.Trust)
	v.sites(m.Site, len(m.Fallback) > 0)
	for i, in := range m.Roots {
		v.artifact(fmt.Sprintf("roots[%d]", i), in)
	}
	v.each("console", m.Console, consoleName, `want a console of the kernel, "tty0" or "ttyS0,115200"`)
	v.consoles(m.Console)
	v.number("timeout", &m.Timeout, 3, 0, maxTimeout)
	v.menu(m)
	v.networks("networks", m.Networks)
	v.hinted("proxy", `"http://proxy.example:3128"; who may use it is not said on a medium`, settings.CheckProxy(m.Proxy))
	v.hinted("syslog", `"udp://log.example:514"`, settings.CheckSyslog(m.Syslog))
	for i, where := range m.Report {
		v.hinted(fmt.Sprintf("report[%d]", i), `"site" is the site itself, which "farboot serve" is made for`, settings.CheckReport(where))
	}
	v.atMost("report", len(m.Report), settings.MaxReport)
	for i, e := range m.Fallback {
		v.entry(fmt.Sprintf("fallback[%d]", i), e, scope{medium: true, toolbox: m.Toolbox != nil})
	}
	v.atMost("fallback", len(m.Fallback), settings.MaxFallback)
	if m.Toolbox != nil {
		orDefault(&m.Toolbox.Place, settings.PlaceMemory)
		v.oneOf("toolbox.place", m.Toolbox.Place, settings.PlaceMemory, settings.PlaceMedium)
		v.packages("toolbox", m.Toolbox.Toolbox)
	}
	v.limits(m.Limits)
}

// kernel validates the agent's kernel.
func (v *validator) kernel(k *Kernel) {
	if len(k.Modules) == 0 {
		k.Modules = []string{"net", "usb"}
	}
	if k.Deb == "" || k.URL != "" || k.File != "" || k.SHA256 != "" {
		v.fail("kernel", `write "deb: linux-image-amd64"`, "want a package with kernel and modules")
	}
	v.input("kernel", k.Input)
	v.each("kernel.modules", k.Modules, moduleName, "want a set or a module's name")
}

// artifact validates an input that has to be one file.
func (v *validator) artifact(at string, in Input) {
	if in.Deb != "" && in.File == "" {
		v.fail(at, `add "file:" with the path inside the package`, "which file of package %q?", in.Deb)
	}
	v.input(at, in)
}

// input validates where bytes come from.
func (v *validator) input(at string, in Input) {
	if in.File != "" {
		v.pathText(at+".file", in.File)
	}
	switch {
	case in.Deb != "" && in.URL != "":
		v.fail(at, "", "deb and url exclude each other")
	case in.URL != "" && in.File != "":
		v.fail(at, "", "url and file exclude each other")
	case in.SHA256 != "" && in.URL == "":
		v.fail(at+".sha256", "", "only an input with url has a sha256; the lock records the others")
	case in.Deb != "" && !debName.MatchString(in.Deb):
		v.fail(at+".deb", "", "%q is not a package's name", in.Deb)
	case in.URL != "":
		v.try(at+".url", checkURL(in.URL))
		if in.SHA256 == "" {
			v.fail(at, `add "sha256:"; sha256sum prints it`, "a url needs the hash of what it gives")
			return
		}
		_, err := object.ParseID(in.SHA256)
		v.try(at+".sha256", err)
	case in.Deb == "" && in.File == "":
		v.fail(at, "", "want one of deb, url and file")
	}
}

// apt validates where packages come from.
func (v *validator) apt(a *Apt) {
	orDefault(&a.Suite, "bookworm")
	if len(a.Components) == 0 {
		a.Components = []string{"main"}
	}
	if !suiteName.MatchString(a.Suite) {
		v.fail("apt.suite", "", "%q is not a suite's name", a.Suite)
	}
	v.each("apt.components", a.Components, suiteName, "want a component's name")
	if a.Mirror == "" {
		if a.Keyring != "" || a.Security != "" || a.Snapshot != "" {
			v.fail("apt", `add "mirror:"`, "keyring, security and snapshot belong to a mirror")
		}
		return
	}
	v.try("apt.mirror", checkURL(a.Mirror))
	if a.Security != "" {
		v.try("apt.security", checkURL(a.Security))
	}
	if a.Keyring == "" {
		v.fail("apt", `add "keyring:" with a file of the project`, "a mirror needs the keys that sign its packages")
	}
	v.pathText("apt.keyring", a.Keyring)
	if a.Snapshot != "" {
		_, err := time.Parse(time.RFC3339, a.Snapshot)
		v.try("apt.snapshot", err)
	}
}

// sites validates the base URLs of a medium's sites and gives each its slash.
func (v *validator) sites(sites []string, fallback bool) {
	if len(sites) == 0 && !fallback {
		v.fail("site", `add "site: [http://SERVER/]"`, "the agent has nobody to ask")
	}
	for i, s := range sites {
		v.hinted(fmt.Sprintf("site[%d]", i), siteHint(s), checkURL(s))
		if strings.HasSuffix(s, "/"+manifest.File) {
			v.fail(fmt.Sprintf("site[%d]", i), fmt.Sprintf("write %q", strings.TrimSuffix(s, manifest.File)), "want the folder that has %s", manifest.File)
		}
		sites[i] = strings.TrimSuffix(s, "/") + "/"
	}
}

// siteHint completes an address without a scheme.
func siteHint(s string) string {
	if strings.Contains(s, "://") || strings.Contains(s, "@") {
		return ""
	}
	return fmt.Sprintf("write %q", "http://"+strings.TrimPrefix(s, "//"))
}

// checkURL refuses what the fetcher would refuse, and what must not be printed.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("not a URL") // err would print what may hold a password
	case u.User != nil:
		return errors.New("a URL with a user name or password in it ends up in images and logs")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("scheme %q is neither http nor https", u.Scheme)
	case u.Port() != "" && !isPort(u.Port()):
		return fmt.Errorf("port %q is not between 1 and 65535", u.Port())
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, " \"'\\"):
		return fmt.Errorf("%q: want http://HOST/PATH", s)
	}
	return nil
}

// isPort tells whether s is the number of a TCP port.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// pathText validates a path inside the project or a package.
func (v *validator) pathText(field, path string) {
	path = strings.TrimSuffix(path, "/")
	switch {
	case path == "":
		v.fail(field, "", "no path")
	case !fs.ValidPath(path) || path == "." || strings.Contains(path, `\`):
		v.fail(field, `"/", ".." and "." do not occur in it; a recipe cannot leave its project folder`, "%q is not a clean relative path", path)
	}
}

// each validates every item of a list by its shape.
func (v *validator) each(field string, items []string, shape *regexp.Regexp, want string) {
	for i, item := range items {
		if !shape.MatchString(item) {
			v.fail(fmt.Sprintf("%s[%d]", field, i), "", "%q: %s", item, want)
		}
	}
}

// oneOf validates a choice.
func (v *validator) oneOf(field, have string, choices ...string) {
	if !slices.Contains(choices, have) {
		v.fail(field, didYouMean(have, choices), "%q is not one of %s", have, strings.Join(choices, ", "))
	}
}

// number validates a number, or sets its default.
func (v *validator) number(field string, n **int, def, low, high int) {
	if *n == nil {
		*n = &def
	}
	if **n < low || **n > high {
		v.fail(field, "", "%d is not between %d and %d", **n, low, high)
	}
}

// orDefault sets s where nothing was written.
func orDefault(s *string, def string) {
	if *s == "" {
		*s = def
	}
}

// consoles validates that no two are of one kind: Linux prints on one console of
// each driver alone, and the others would stay dark.
func (v *validator) consoles(names []string) {
	seen := map[string]string{}
	for i, name := range names {
		kind := strings.TrimRight(strings.SplitN(name, ",", 2)[0], "0123456789")
		if other, taken := seen[kind]; taken {
			v.fail(fmt.Sprintf("console[%d]", i), "name the one that people look at", "%q is dark beside %q: Linux prints on one console of each kind", name, other)
		}
		seen[kind] = name
	}
}
