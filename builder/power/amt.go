package power

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// amt speaks the part of WS-Management (DMTF DSP0226) that it takes to switch a
// machine with Intel AMT: five classes, by HTTP with digest authentication. The
// names are those of Intel's "AMT Implementation and Reference Guide", "WS-Management
// Class Reference".
type amt struct {
	Config
	client *client
	digest *digest
	sent   int // numbers messages
}

func newAMT(c Config) (*amt, error) {
	client := newClient(c, "16993", "16992")
	return &amt{Config: c, client: client, digest: &digest{user: cmp.Or(c.User, "admin"), password: c.Secret}}, nil
}

// Namespaces of messages.
const (
	nsSOAP     = "http://www.w3.org/2003/05/soap-envelope"
	nsAddress  = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
	nsWSMan    = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
	nsTransfer = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
	nsCIM      = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
	nsAMT      = "http://intel.com/wbem/wscim/1/amt-schema/1/"
	anonymous  = nsAddress + "/role/anonymous"
)

// Classes.
const (
	classPower    = nsCIM + "CIM_PowerManagementService"
	classState    = nsCIM + "CIM_AssociatedPowerManagementService"
	classComputer = nsCIM + "CIM_ComputerSystem"
	classConfig   = nsCIM + "CIM_BootConfigSetting"
	classSource   = nsCIM + "CIM_BootSourceSetting"
	classBoot     = nsCIM + "CIM_BootService"
	classSettings = nsAMT + "AMT_BootSettingData"
)

// State implements [Driver]. The values are those of CIM_AssociatedPowerManagement-
// Service.PowerState: 2 is on, 3, 4 and 7 are kinds of sleep, 6 and 8 are off.
func (a *amt) State(ctx context.Context) (State, error) {
	ctx, done := a.begin(ctx)
	defer done()
	got, err := a.call(ctx, nsTransfer+"/Get", classState, "")
	if err != nil {
		return "", err
	}
	switch state := got.find("PowerState"); state {
	case "2":
		return IsOn, nil
	case "6", "8", "12", "13":
		return IsOff, nil
	case "3", "4", "7":
		return "asleep", nil
	case "":
		return "", fmt.Errorf("%w: an answer without PowerState", ErrFailed)
	default:
		return State("state " + strconv.QuoteToASCII(state)), nil
	}
}

// Do implements [Driver], by RequestPowerStateChange: 2 is on, 5 off and on
// again, 8 off, 10 a reset of the bus.
func (a *amt) Do(ctx context.Context, action Action) error {
	ctx, done := a.begin(ctx)
	defer done()
	state := map[Action]int{On: 2, Cycle: 5, Off: 8, Reset: 10}[action]
	body := fmt.Sprintf("<h:PowerState>%d</h:PowerState><h:ManagedElement>%s</h:ManagedElement>", state,
		reference(classComputer, [2]string{"CreationClassName", "CIM_ComputerSystem"}, [2]string{"Name", "ManagedSystem"}))
	return a.invoke(ctx, classPower, "RequestPowerStateChange", body)
}

// sources are AMT's names of devices.
var sources = map[Device]string{
	PXE:  "Intel(r) AMT: Force PXE Boot",
	Disk: "Intel(r) AMT: Force Hard-drive Boot",
	CD:   "Intel(r) AMT: Force CD/DVD Boot",
}

// BootNext implements [Driver]. The order is what counts, as Intel's MeshCommander
// has it: an order that somebody left behind is cleared, then options are, then
// the configuration is made the one for the next start, and last comes the source.
// In another order the first start ignores it.
func (a *amt) BootNext(ctx context.Context, d Device) error {
	source, ok := sources[d]
	if !ok {
		return fmt.Errorf("%w: AMT has no %s without certificates of its own", ErrUnsupported, d)
	}
	ctx, done := a.begin(ctx)
	defer done()
	settings, err := a.call(ctx, nsTransfer+"/Get", classSettings, "")
	if err != nil {
		return err
	}
	if settings.XMLName.Local != "AMT_BootSettingData" {
		return fmt.Errorf("%w: %+.100q is no AMT_BootSettingData", ErrFailed, settings.XMLName.Local)
	}
	if err := a.invoke(ctx, classConfig, "ChangeBootOrder", ""); err != nil {
		return err
	}
	if _, err := a.call(ctx, nsTransfer+"/Put", classSettings, cleared(settings)); err != nil {
		return err
	}
	config := reference(classConfig, [2]string{"InstanceID", "Intel(r) AMT: Boot Configuration 0"})
	const nextOnly = 1 // IsNextSingleUse
	role := fmt.Sprintf("<h:BootConfigSetting>%s</h:BootConfigSetting><h:Role>%d</h:Role>", config, nextOnly)
	if err := a.invoke(ctx, classBoot, "SetBootConfigRole", role); err != nil {
		return err
	}
	return a.invoke(ctx, classConfig, "ChangeBootOrder", "<h:Source>"+reference(classSource, [2]string{"InstanceID", source})+"</h:Source>")
}

// readOnly are the settings that AMT says and does not take.
var readOnly = []string{
	"BIOSLastStatus", "BootguardStatus", "OptionsCleared", "RPEEnabled", "SecureBootControlEnabled", "UEFIHTTPSBootEnabled",
	"UEFILocalPBABootEnabled", "UefiBootParametersArray", "WinREBootEnabled",
}

// off are the settings that would do something else than start from a device, and
// what they are without.
var off = map[string]string{
	"BIOSPause": "false", "BIOSSetup": "false", "BootMediaIndex": "0", "ConfigurationDataReset": "false", "PlatformErase": "false",
	"ReflashBIOS": "false", "SecureErase": "false", "UefiBootNumberOfParams": "0", "UseIDER": "false", "UseSOL": "false",
	"UseSafeMode": "false", "UserPasswordBypass": "false",
}

// cleared returns boot settings with all options off, as the body of a Put.
func cleared(settings node) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<h:AMT_BootSettingData xmlns:h="%s">`, classSettings)
	for _, n := range settings.Nodes {
		name := n.XMLName.Local
		if slices.Contains(readOnly, name) {
			continue
		}
		value, ok := off[name]
		if !ok {
			value = strings.TrimSpace(n.Text)
		}
		fmt.Fprintf(&b, "<h:%s>%s</h:%[1]s>", name, escape(value))
	}
	b.WriteString("</h:AMT_BootSettingData>")
	return b.String()
}

// begin bounds what follows in time.
func (a *amt) begin(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, a.client.limit)
	a.digest.nonce = "" // the controller's last one may be too old, which some do not say
	return ctx, func() {
		cancel()
		a.client.http.CloseIdleConnections()
	}
}

// invoke calls a method of a class. Its ReturnValue is 0 where it worked, 1 where
// there is no such method, and says otherwise why it did not.
func (a *amt) invoke(ctx context.Context, class, method, input string) error {
	body := fmt.Sprintf(`<h:%s_INPUT xmlns:h="%s">%s</h:%[1]s_INPUT>`, method, class, input)
	got, err := a.call(ctx, class+"/"+method, class, body)
	if err != nil {
		return err
	}
	switch value := got.find("ReturnValue"); value {
	case "0":
		return nil
	case "1":
		return fmt.Errorf("%w: %s", ErrUnsupported, method)
	default:
		return fmt.Errorf("%w: %s returned %+.40q", ErrFailed, method, value)
	}
}

// call sends one message and returns what is in the body of the answer.
func (a *amt) call(ctx context.Context, action, class, body string) (node, error) {
	a.sent++
	message := fmt.Sprintf(`<?xml version="1.0" encoding="utf-8"?>`+
		`<Envelope xmlns="%s" xmlns:a="%s" xmlns:w="%s"><Header><a:Action>%s</a:Action><a:To>/wsman</a:To>`+
		`<w:ResourceURI>%s</w:ResourceURI><a:MessageID>%d</a:MessageID><a:ReplyTo><a:Address>%s</a:Address></a:ReplyTo>`+
		`<w:OperationTimeout>PT60S</w:OperationTimeout></Header><Body>%s</Body></Envelope>`,
		nsSOAP, nsAddress, nsWSMan, action, class, a.sent, anonymous, body)
	got, err := a.post(ctx, []byte(message))
	if err != nil {
		return node{}, err
	}
	var envelope struct {
		XMLName xml.Name `xml:"http://www.w3.org/2003/05/soap-envelope Envelope"`
		Body    node
	}
	if err := xml.Unmarshal(got.body, &envelope); err != nil {
		if got.status != http.StatusOK {
			return node{}, got.refusal()
		}
		return node{}, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if len(envelope.Body.Nodes) != 1 {
		if got.status != http.StatusOK {
			return node{}, got.refusal()
		}
		return node{}, nil
	}
	inner := envelope.Body.Nodes[0]
	if inner.XMLName.Local == "Fault" {
		return node{}, fmt.Errorf("%w: status %d: %+.200q", ErrFailed, got.status, inner.find("Text"))
	}
	if got.status != http.StatusOK {
		return node{}, got.refusal()
	}
	return inner, nil
}

// post sends a message, once more where the controller wants to know who asks.
func (a *amt) post(ctx context.Context, message []byte) (answer, error) {
	for again := false; ; again = true {
		header := http.Header{"Content-Type": {"application/soap+xml;charset=UTF-8"}}
		if auth := a.digest.authorize(http.MethodPost, "/wsman"); auth != "" {
			header.Set("Authorization", auth)
		}
		got, err := a.client.do(ctx, http.MethodPost, "/wsman", message, header)
		if err != nil || got.status != http.StatusUnauthorized {
			return got, err
		}
		// Asked for the first time, or the nonce is too old.
		fresh, err := a.digest.challenge(got.header.Values("WWW-Authenticate"))
		if err != nil {
			return answer{}, err
		}
		if again || !fresh {
			return answer{}, fmt.Errorf("%w: status %d", ErrPassword, got.status)
		}
	}
}

// reference is the address of an instance.
func reference(class string, selectors ...[2]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<a:Address>%s</a:Address><a:ReferenceParameters><w:ResourceURI>%s</w:ResourceURI><w:SelectorSet>`, anonymous, class)
	for _, s := range selectors {
		fmt.Fprintf(&b, `<w:Selector Name="%s">%s</w:Selector>`, escape(s[0]), escape(s[1]))
	}
	b.WriteString(`</w:SelectorSet></a:ReferenceParameters>`)
	return b.String()
}

// escape makes text safe in XML.
func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) //nolint:errcheck // a Builder takes everything
	return b.String()
}

// node is an element of XML.
type node struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
	Nodes   []node `xml:",any"`
}

// find returns the text of the first element of that name within n, or "".
func (n node) find(name string) string {
	for _, c := range n.Nodes {
		if c.XMLName.Local == name {
			return strings.TrimSpace(c.Text)
		}
		if text := c.find(name); text != "" {
			return text
		}
	}
	return ""
}
