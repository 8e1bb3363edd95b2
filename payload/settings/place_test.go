package settings

import (
	"strings"
	"testing"
)

func TestPlaces(t *testing.T) {
	for _, s := range []string{"site", "http://h/", "https://reports.example:8443/a/b", "http://[2001:db8::1]:80/x", "http://h"} {
		if err := CheckReport(s); err != nil {
			t.Errorf("CheckReport(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"", "udp://log.example:514", "tcp://192.0.2.1:601", "udp://[2001:db8::1]:514"} {
		if err := CheckSyslog(s); err != nil {
			t.Errorf("CheckSyslog(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"", "http://proxy.example:3128", "http://[2001:db8::1]:80"} {
		if err := CheckProxy(s); err != nil {
			t.Errorf("CheckProxy(%q) = %v", s, err)
		}
	}
}

func TestPlacesRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		check func(string) error
		bad   []string
	}{
		{"report", CheckReport, []string{
			"", "Site", "h", "/reports", "ftp://h/", "http://", "http:///x", "http://h/?q=1", "http://h/?", "http://h/#f", "http://h/#",
			"http://u:hunter2@h/", "http://h:0/", "http://h:99999/", "http://h/a b", "http://h/\n", "http://h/\x1b[2J", "http://h/\u202e",
			"http://[fe80::1%25eth0]/", "http://h/" + strings.Repeat("x", 240), `http://h/"`, "http://%zz/",
		}},
		{"syslog", CheckSyslog, []string{
			"log:514", "udp://log", "udp://:514", "udp://log:514/", "udp://log:514/x", "tls://log:6514", "http://log:514", "udp://u:hunter2@log:514",
			"udp://log:0", "udp://log:514?x", "udp://log:514#x", "udp://lo g:514", "UDP://log:514",
		}},
		{"proxy", CheckProxy, []string{
			"proxy:3128", "https://p:3128", "socks5://p:1080", "http://p", "http://p:3128/", "http://u:hunter2@p:3128", "http://p:x",
		}},
	} {
		for _, s := range c.bad {
			err := c.check(s)
			if err == nil {
				t.Errorf("%s %q is accepted", c.name, s)
				continue
			}
			if strings.Contains(err.Error(), "hunter2") || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%s %q: %v", c.name, s, err)
			}
		}
	}
}
