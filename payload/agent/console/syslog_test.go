package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// record is one message, as a strict reader of RFC 5424, section 6, sees it.
type record struct {
	PRI                       int
	Time                      time.Time // zero for "-"
	Host, App, Process, MsgID string
	Data                      map[string]map[string]string
	Msg                       string
}

// header is a field of printable ASCII without blanks.
func header(rest *string, most int) (string, error) {
	f, after, ok := strings.Cut(*rest, " ")
	if !ok || f == "" || len(f) > most || strings.ContainsFunc(f, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("header field %q", f)
	}
	*rest = after
	return f, nil
}

// parseRFC5424 reads one message, and refuses what the grammar does.
func parseRFC5424(s string) (r record, err error) {
	pri, rest, ok := strings.Cut(s, ">1 ")
	if r.PRI, err = strconv.Atoi(strings.TrimPrefix(pri, "<")); !ok || err != nil || pri[0] != '<' || r.PRI > 191 {
		return r, fmt.Errorf("no <PRI>1 in %q", s)
	}
	var fields [5]string
	for i, most := range []int{32, 255, 48, 128, 32} {
		if fields[i], err = header(&rest, most); err != nil {
			return r, err
		}
	}
	if fields[0] != "-" {
		if r.Time, err = time.Parse(time.RFC3339Nano, fields[0]); err != nil {
			return r, err
		}
	}
	r.Host, r.App, r.Process, r.MsgID = fields[1], fields[2], fields[3], fields[4]
	if r.Data, err = parseData(&rest); err != nil {
		return r, err
	}
	if r.Msg, ok = strings.CutPrefix(rest, " "); !ok && rest != "" {
		return r, fmt.Errorf("after the structured data: %q", rest)
	}
	return r, nil
}

// parseData reads STRUCTURED-DATA (6.3).
func parseData(rest *string) (map[string]map[string]string, error) {
	all := map[string]map[string]string{}
	if after, ok := strings.CutPrefix(*rest, "-"); ok {
		*rest = after
		return all, nil
	}
	for strings.HasPrefix(*rest, "[") {
		id, after, _ := strings.Cut((*rest)[1:], " ")
		params := map[string]string{}
		for !strings.HasPrefix(after, "]") {
			name, value, ok := strings.Cut(strings.TrimPrefix(after, " "), `="`)
			if !ok || name == "" || strings.ContainsAny(name, ` ="]`) {
				return nil, fmt.Errorf("parameter in %q", after)
			}
			var text strings.Builder
			for ; value != "" && value[0] != '"'; value = value[1:] {
				if value[0] == ']' {
					return nil, fmt.Errorf("bare ']' in a value of %q", after)
				}
				if value[0] == '\\' && len(value) > 1 && strings.ContainsRune(`"\]`, rune(value[1])) {
					value = value[1:]
				}
				text.WriteByte(value[0])
			}
			if value == "" {
				return nil, fmt.Errorf("a value of %q does not end", after)
			}
			params[name], after = text.String(), value[1:]
		}
		if all[id] != nil {
			return nil, fmt.Errorf("element %q stands twice", id)
		}
		all[id], *rest = params, after[1:]
	}
	if len(all) == 0 {
		return nil, errors.New("no structured data")
	}
	return all, nil
}

// readTCP reads one message that is counted in octets (RFC 6587, 3.4.1).
func readTCP(r *bufio.Reader) (record, error) {
	n, err := r.ReadString(' ')
	if err != nil {
		return record{}, err
	}
	size, err := strconv.Atoi(strings.TrimSuffix(n, " "))
	if err != nil || size > maxSyslog || n[0] == '0' {
		return record{}, fmt.Errorf("MSG-LEN %q", n)
	}
	msg := make([]byte, size)
	if _, err := io.ReadFull(r, msg); err != nil {
		return record{}, err
	}
	return parseRFC5424(string(msg))
}

// The reader above is right: logger(1) of util-linux speaks to it.
func TestReaderReadsLogger(t *testing.T) {
	tool, err := exec.LookPath("logger")
	if err != nil {
		t.Fatal("logger is missing: apt-get install bsdutils")
	}
	l := listen(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(l.Addr().String())
	cmd := exec.Command(tool, "--rfc5424", "--server", "127.0.0.1", "--port", port, "--tcp", "--octet-count", "--priority", "daemon.info",
		"--tag", "farboot", "--id=42", "--msgid", "m", "--sd-id", "x@32473", "--sd-param", `a="b\"c\]d"`, "hello there")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := readTCP(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	if got.PRI != 30 || got.App != "farboot" || got.Process != "42" || got.MsgID != "m" || got.Msg != "hello there" ||
		got.Data["x@32473"]["a"] != `b"c]d` || got.Time.IsZero() {
		t.Errorf("%+v", got)
	}
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// syslogTo returns the settings for a server that tests look at.
func syslogTo(url string) Syslog {
	return Syslog{
		URL: url, Boot: "6a1f5b9e-07cd-4a39-9f2e-0f6a2a7d2c11", Build: "97a88a30ea012ae7",
		Host: func() string { return "mac-52-54-00-12-34-56" },
		Now:  func() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) },
	}
}

// Lines from before the server was named arrive, and the server may come late:
// here no one listens at first. Then it goes away, and the next one gets the rest.
func TestSyslogTCP(t *testing.T) {
	late := listen(t, "127.0.0.1:0")
	addr := late.Addr().String()
	late.Close()
	c := fixed(New())
	c.Printf("farboot: model")
	if err := c.Syslog(t.Context(), syslogTo("tcp://"+addr)); err != nil {
		t.Fatal(err)
	}
	c.Printf("bad\nnews \x1b[2J")
	if c.Flush(time.Millisecond) {
		t.Error("Flush says that a server which is not there has the lines")
	}
	l := listen(t, addr)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	want := []string{"[   2.31] farboot: model", "[   2.31] bad?news ?[2J"}
	for i, text := range want {
		got, err := readTCP(r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(record{
			PRI: 30, Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Host: "mac-52-54-00-12-34-56", App: "farboot",
			Process: "6a1f5b9e-07cd-4a39-9f2e-0f6a2a7d2c11", MsgID: "-", Msg: text,
			Data: map[string]map[string]string{
				"origin": {"software": "farboot", "swVersion": "97a88a30ea012ae7"},
				"meta":   {"sequenceId": fmt.Sprint(i + 1)},
			},
		}, got); diff != "" {
			t.Error(diff)
		}
	}
	if !c.Flush(10 * time.Second) {
		t.Error("Flush: the lines are out")
	}
	conn.Close()
	next := make(chan string)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			next <- err.Error()
			return
		}
		defer conn.Close()
		got, err := readTCP(bufio.NewReader(conn))
		next <- fmt.Sprint(got.Msg, err)
	}()
	for {
		c.Printf("again") // the first ones go into a connection that is dead
		select {
		case got := <-next:
			if got != "[   2.31] again<nil>" {
				t.Errorf("the next server got %q", got)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestSyslogUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cfg := syslogTo("udp://" + conn.LocalAddr().String())
	cfg.Host, cfg.Boot, cfg.Build = func() string { return "" }, "a b", "\x1b\"]\\"
	cfg.Now = func() time.Time { return time.Time{} }
	c := fixed(New())
	if err := c.Syslog(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	c.Printf("%s", strings.Repeat("x", 10_000))
	c.Printf("second")
	buf := make([]byte, 64<<10)
	for _, want := range []record{
		{Data: map[string]map[string]string{"origin": {"software": "farboot", "swVersion": "-"}, "meta": {"sequenceId": "1"}}},
		{Data: map[string]map[string]string{"origin": {"software": "farboot", "swVersion": "-"}, "meta": {"sequenceId": "2"}}, Msg: "[   2.31] second"},
	} {
		n, _, err := conn.ReadFrom(buf)
		if err != nil || n > maxSyslog {
			t.Fatalf("%d octets, %v", n, err)
		}
		got, err := parseRFC5424(string(buf[:n]))
		if err != nil {
			t.Fatal(err)
		}
		if want.PRI, want.Host, want.App, want.Process, want.MsgID = 30, "-", "farboot", "ab", "-"; want.Msg == "" {
			want.Msg = got.Msg
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// Nobody listens on the port: lines are lost, and hold nothing up.
func TestSyslogUDPToNobody(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	c := fixed(New())
	if err := c.Syslog(t.Context(), syslogTo("udp://"+conn.LocalAddr().String())); err != nil {
		t.Fatal(err)
	}
	for range 3 * queueLines {
		c.Printf("line")
	}
	if !c.Flush(time.Minute) {
		t.Error("the lines are not out")
	}
}

// A server that takes the connection and reads nothing costs lines, never time;
// the first of those that waited are kept, and the gap is told.
func TestSyslogThatDoesNotRead(t *testing.T) {
	var good buffer
	c := fixed(New(&good))
	release := make(chan struct{})
	blocked := &terminal{write: func(m message) { <-release; good.Write([]byte("S " + m.text)) }, drain: func() {}, flush: sendFlush, queue: make(chan message, queueLines)}
	c.terminals = append(c.terminals, blocked)
	go blocked.run()
	for i := range queueLines + 100 {
		c.Printf("line %d", i)
		for c.terminals[0].dropped.Load() == 0 && len(c.terminals[0].queue) > 10 {
			c.terminals[0].flushed(time.Second)
		}
	}
	start := time.Now()
	if c.Flush(time.Hour) {
		t.Error("Flush says that all lines are out")
	}
	if waited := time.Since(start); waited > time.Minute {
		t.Errorf("Flush waited %s for a server", waited)
	}
	close(release)
	if !blocked.flushed(time.Minute) {
		t.Fatal("the server reads, and the lines are not out")
	}
	text := good.String()
	if !strings.Contains(text, "S [   2.31] line 0\n") || !strings.Contains(text, "lines were dropped") || strings.Contains(text, fmt.Sprintf("S [   2.31] line %d\n", queueLines+99)) {
		t.Errorf("%.200s", text)
	}
}

func TestSyslogEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := New()
	if err := c.Syslog(ctx, syslogTo("tcp://127.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	c.Printf("to nobody")
	cancel()
	if !c.Flush(time.Minute) {
		t.Error("what cannot be sent any more is still waited for")
	}
	for _, bad := range []string{"", "log", "http://h:1", "unix:///dev/log", "\x7f"} {
		if err := c.Syslog(ctx, Syslog{URL: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzClean holds what every line goes through.
func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[2J\x00\u202e\xff\n")
	f.Add(strings.Repeat("\u00e9", maxLine))
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if len(got) > maxLine+len("...") || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q", got)
		}
		msg := (&sender{Syslog: syslogTo("udp://h:1"), uptime: Uptime}).format(message{text: got + "\n"})
		if r, err := parseRFC5424(msg); err != nil || len(msg) <= maxSyslog-1 && r.Msg != got {
			t.Fatalf("%q: %+v, %v", got, r, err)
		}
	})
}
