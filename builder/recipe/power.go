package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/manifest"
)

// Drivers of [Power].
const (
	DriverRedfish = "redfish"
	DriverIPMI    = "ipmi"
	DriverAMT     = "amt"
	DriverWOL     = "wol"
	DriverExec    = "exec"
)

// Power says how a machine is switched from afar. It stays at the desk: nothing
// of it is published.
type Power struct {
	// Driver is "redfish", "ipmi" (by ipmitool), "amt" (Intel's), "wol" (a magic
	// packet, which can only switch on) or "exec" (a program of yours).
	Driver string `yaml:"driver" json:"driver,omitzero"`
	// Address is the controller's host, with a port where that is not the usual
	// one. For wol it is where the packet is sent, default 255.255.255.255:9.
	Address string `yaml:"address" json:"address,omitzero"`
	// User is the account at the controller. Default "admin" for amt.
	User string `yaml:"user" json:"user,omitzero"`
	// Password is a reference to the account's password.
	Password *Secret `yaml:"password" json:"password,omitzero"`
	// CA is a file of the project with the certificates (PEM) that may vouch for
	// the controller. Default is the desk's own roots.
	CA string `yaml:"ca" json:"ca,omitzero"`
	// Fingerprint is the SHA-256 of the controller's own certificate, in hex. It
	// takes the place of everything else that is checked of a certificate.
	Fingerprint string `yaml:"fingerprint" json:"fingerprint,omitzero"`
	// Insecure checks no certificate: who is between gets the password.
	Insecure bool `yaml:"insecure" json:"insecure,omitzero"`
	// Plain speaks HTTP without TLS.
	Plain bool `yaml:"plain" json:"plain,omitzero"`
	// System is the Id of the machine at a Redfish service that has several.
	System string `yaml:"system" json:"system,omitzero"`
	// Cipher is IPMI's cipher suite: 17, or 3 on older controllers. Default is
	// the best that ipmitool can agree on.
	Cipher int `yaml:"cipher" json:"cipher,omitzero"`
	// BIOS asks IPMI for a start by BIOS. Default is by UEFI.
	BIOS bool `yaml:"bios" json:"bios,omitzero"`
	// Command is the program of exec with its arguments; farboot adds what is to
	// be done.
	Command []string `yaml:"command" json:"command,omitzero"`
	// Seconds is how long one request may take in all, 1 to 600. Default 30.
	Seconds int `yaml:"seconds" json:"seconds,omitzero"`
}

// Secret says where a password is. It never stands in a recipe.
type Secret struct {
	// File is its path: absolute, from the home folder ("~/bmc"), or within the
	// project. Others must not be able to read it. The first line counts.
	File string `yaml:"file" json:"file,omitzero"`
	// Env is the name of a variable of farboot's environment.
	Env string `yaml:"env" json:"env,omitzero"`
}

// maxPassword bounds a password, in bytes.
const maxPassword = 1 << 10

// Read returns the secret; dir is the project's folder. Its errors never hold any
// of it.
func (s *Secret) Read(dir string) (string, error) {
	if s == nil {
		return "", nil
	}
	if s.Env != "" {
		text, ok := os.LookupEnv(s.Env)
		if !ok || text == "" {
			return "", fmt.Errorf("password: variable %q is not set", s.Env)
		}
		return text, nil
	}
	name, err := s.path(dir)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("password: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxPassword:
		return "", fmt.Errorf("password: %s is no file of at most %d bytes", name, maxPassword)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("password: others can read %s (mode %04o): chmod 600", name, info.Mode().Perm())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("password: the first line of %s is empty", name)
	}
	return line, nil
}

// path returns where the secret's file lies.
func (s *Secret) path(dir string) (string, error) {
	if rest, ok := strings.CutPrefix(s.File, "~/"); ok {
		home, err := os.UserHomeDir()
		return filepath.Join(home, rest), err
	}
	if filepath.IsAbs(s.File) {
		return s.File, nil
	}
	return filepath.Join(dir, filepath.FromSlash(s.File)), nil
}

// with returns p with what it lacks from the group's. Another driver shares
// nothing with it.
func (p *Power) with(group *Power) *Power {
	if p == nil || group == nil {
		return cmp.Or(p, group)
	}
	if p.Driver != "" && p.Driver != group.Driver {
		return p
	}
	all := *p
	all.Driver = group.Driver
	all.Address = cmp.Or(p.Address, group.Address)
	all.User = cmp.Or(p.User, group.User)
	all.Password = cmp.Or(p.Password, group.Password)
	if p.CA == "" && p.Fingerprint == "" && !p.Insecure && !p.Plain {
		all.CA, all.Fingerprint, all.Insecure, all.Plain = group.CA, group.Fingerprint, group.Insecure, group.Plain
	}
	all.System = cmp.Or(p.System, group.System)
	all.Cipher = cmp.Or(p.Cipher, group.Cipher)
	all.BIOS = p.BIOS || group.BIOS
	if len(all.Command) == 0 {
		all.Command = group.Command
	}
	all.Seconds = cmp.Or(p.Seconds, group.Seconds)
	return &all
}

var (
	// hostName is one label of RFC 1123, 2.1, in lower case.
	hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// hostPort is a host's name or address, with a port or not.
	hostPort = regexp.MustCompile(`^([A-Za-z0-9._-]+|[0-9.]+|\[[0-9A-Fa-f:.]+(%[a-z0-9]+)?\])(:([0-9]{1,5}))?$`)
	// variable is the name of one in the desk's environment.
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// pinned is a fingerprint, as openssl prints it or without colons.
	pinned = regexp.MustCompile(`^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$`)
)

// knows lists what each driver takes beside driver and seconds.
var knows = map[string][]string{
	DriverRedfish: {"address", "user", "password", "ca", "fingerprint", "insecure", "plain", "system"},
	DriverIPMI:    {"address", "user", "password", "cipher", "bios"},
	DriverAMT:     {"address", "user", "password", "ca", "fingerprint", "insecure", "plain"},
	DriverWOL:     {"address"},
	DriverExec:    {"address", "user", "password", "command"},
}

// powerHint shows what most people mean.
const powerHint = `for example {driver: redfish, address: 192.0.2.17, user: admin, password: {file: ~/.config/farboot/bmc}}`

// power validates how a machine is switched; whole says that p is all that there
// is, and nothing is still to come from somewhere else.
func (v *validator) power(at string, p *Power, whole bool) {
	if p == nil {
		return
	}
	if p.Driver != "" {
		v.oneOf(at+".driver", p.Driver, DriverRedfish, DriverIPMI, DriverAMT, DriverWOL, DriverExec)
		for _, name := range p.fields() {
			if takes := knows[p.Driver]; !slices.Contains(takes, name) {
				v.fail(at+"."+name, "", "%s takes %s", p.Driver, strings.Join(takes, ", "))
			}
		}
	}
	v.powerFields(at, p)
	if !whole {
		return
	}
	v.hinted(at, powerHint, p.Complete())
}

// Complete tells what p lacks. That of a group may lack what each of its machines
// has.
func (p *Power) Complete() error {
	switch {
	case p.Driver == "":
		return errors.New("no driver")
	case p.Driver == DriverExec && len(p.Command) == 0:
		return errors.New(`exec needs a "command:"`)
	case p.Driver == DriverExec, p.Driver == DriverWOL:
		return nil
	case p.Address == "":
		return fmt.Errorf(`%s needs the controller's "address:"`, p.Driver)
	case p.Password == nil:
		return fmt.Errorf(`%s needs a "password:"`, p.Driver)
	}
	return nil
}

// powerFields validates each of the fields.
func (v *validator) powerFields(at string, p *Power) {
	if m := hostPort.FindStringSubmatch(p.Address); p.Address != "" && (m == nil || m[4] != "" && !isPort(m[4])) {
		v.fail(at+".address", `"192.0.2.17", "bmc7.example:8443" or "[2001:db8::17]"; no scheme, no path`, "%q is not a host", p.Address)
	}
	if p.Driver == DriverWOL && p.Address != "" {
		host, _, _ := strings.Cut(p.Address, ":")
		if a, err := netip.ParseAddr(host); err != nil || !a.Is4() {
			v.fail(at+".address", `the broadcast address of the machine's network: "192.0.2.255"`, "%q is no IPv4 address", p.Address)
		}
	}
	for _, c := range p.User {
		if c <= ' ' || c > '~' || c == ':' {
			v.fail(at+".user", "", "a user's name is printable ASCII without blanks and ':'")
		}
	}
	if s := p.Password; s != nil && (s.File == "") == (s.Env == "") {
		v.fail(at+".password", "", "want one of file and env")
	} else if s != nil && s.Env != "" && !variable.MatchString(s.Env) {
		v.fail(at+".password.env", "", "want the name of a variable")
	} else if s != nil && s.File != "" && !filepath.IsAbs(s.File) {
		v.pathText(at+".password.file", strings.TrimPrefix(s.File, "~/"))
	}
	if p.CA != "" {
		v.pathText(at+".ca", p.CA)
	}
	if p.Fingerprint != "" && !pinned.MatchString(p.Fingerprint) {
		v.fail(at+".fingerprint", `"openssl x509 -noout -fingerprint -sha256 -in CERT.pem" prints it`, "want 32 pairs of hex digits")
	}
	if n := len(slices.DeleteFunc(p.fields(), func(f string) bool {
		return !slices.Contains([]string{"ca", "fingerprint", "insecure", "plain"}, f)
	})); n > 1 {
		v.fail(at, "", "ca, fingerprint, insecure and plain exclude each other")
	}
	if p.Cipher != 0 && p.Cipher != 3 && p.Cipher != 17 {
		v.fail(at+".cipher", "", "%d is neither 3 nor 17", p.Cipher)
	}
	if p.Seconds < 0 || p.Seconds > 600 {
		v.fail(at+".seconds", "", "%d is not between 1 and 600", p.Seconds)
	}
}

// fields lists those that are set, but for driver and seconds.
func (p *Power) fields() []string {
	var set []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"address", p.Address != ""}, {"user", p.User != ""}, {"password", p.Password != nil}, {"ca", p.CA != ""},
		{"fingerprint", p.Fingerprint != ""}, {"insecure", p.Insecure}, {"plain", p.Plain}, {"system", p.System != ""},
		{"cipher", p.Cipher != 0}, {"bios", p.BIOS}, {"command", len(p.Command) > 0},
	} {
		if f.set {
			set = append(set, f.name)
		}
	}
	return set
}

// member completes a machine by what its group says, and validates its name.
func (v *validator) member(at string, m *Machine, s *Site, names map[string]string) {
	if m.Name != "" && !hostName.MatchString(m.Name) {
		v.fail(at+".name", `lower-case letters, digits and '-', at most 63: "room-4-01"`, "%q is no host name", m.Name)
	}
	if other, taken := names[m.Name]; taken && m.Name != "" {
		v.fail(at+".name", "", "%q is the name of %s as well", m.Name, other)
	}
	names[m.Name] = at
	if _, clash := s.Groups[m.Name]; clash {
		v.fail(at+".name", "", "%q is a group's name", m.Name)
	}
	if m.Group != "" {
		g, known := s.Groups[m.Group]
		if !known {
			v.fail(at+".group", didYouMean(m.Group, s.groupNames()), "no group is called %q", m.Group)
		}
		m.Plan = m.Plan.with(g.Plan)
		m.Power = m.Power.with(g.Power)
	}
	v.power(at+".power", m.Power, true)
	if m.Power != nil && m.Power.Driver == DriverWOL && m.Match.MAC == "" {
		v.fail(at+".power", `add "mac:" to its match`, "wol needs the machine's MAC address")
	}
}

// with returns p with what it lacks from the group's.
func (p Plan) with(group Plan) Plan {
	if len(p.Boot) == 0 {
		p.Boot = group.Boot
	}
	p.Menu = cmp.Or(p.Menu, group.Menu)
	if len(p.Networks) == 0 {
		p.Networks = group.Networks
	}
	if len(group.Env) > 0 {
		env := maps.Clone(group.Env)
		maps.Copy(env, p.Env)
		p.Env = env
	}
	return p
}

// own returns what the files of a machine's flash entries can say of it, by the
// names in braces that [manifest.FlashFile] has: as far as the recipe knows.
func (m *Machine) own() map[string]string {
	all := map[string]string{"HOSTNAME": m.Name, "MAC": m.Match.MAC, "UUID": m.Match.UUID, "SERIAL": m.Match.Serial}
	if len(m.Networks) > 0 {
		n := m.Networks[0]
		all["ADDRESS"], all["GATEWAY"], all["DNS"] = join(n.Addresses), join(n.Gateways), join(n.DNS)
	}
	maps.Copy(all, m.Env)
	return all
}

// join writes addresses in one line.
func join[T fmt.Stringer](all []T) string {
	var words []string
	for _, a := range all {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

// expand returns a machine's variables with those that the files of the entries
// that it may flash want, and the first that nobody has said, with who wants it.
func (s *Site) expand(m Machine) (env map[string]string, missing, hint string) {
	names := slices.Clone(m.Boot)
	if menu := cmp.Or(m.Menu, s.Menu); menu != nil {
		names = append(names, menu.Entries...)
	}
	env = m.Env
	for _, name := range names {
		e := s.Entries[name]
		if e.Flash == nil {
			continue
		}
		for _, f := range e.Flash.Files {
			if !f.Expand {
				continue
			}
			own := m.own()
			for _, word := range manifest.Placeholders(string(f.Text)) {
				if own[word] == "" {
					return m.Env, word, fmt.Sprintf("%s of entry %q wants it; %s", f.Path, name, sourceOf(word))
				}
				env = maps.Clone(env)
				if env == nil {
					env = map[string]string{}
				}
				env[word] = own[word]
			}
		}
	}
	return env, "", ""
}

// expand validates that there is a value for all that a machine's files want.
func (v *validator) expand(at string, m Machine, s *Site) {
	if _, missing, hint := s.expand(m); missing != "" {
		v.fail(at, hint, "nothing says what {%s} is", missing)
	}
}

// sourceOf tells where the value of a placeholder is written.
func sourceOf(word string) string {
	switch word {
	case "HOSTNAME":
		return `add "name:"`
	case "MAC", "UUID", "SERIAL":
		return `add it to "match:"`
	case "ADDRESS", "GATEWAY", "DNS":
		return `add it to the first of "networks:"`
	}
	return `add it to "env:"`
}
