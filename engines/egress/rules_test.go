package egress

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func TestRulesMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rules, place string
		want         bool
	}{
		{"example.com", "example.com:443", true},
		{"example.com", "example.com:80", true},
		{"example.com", "EXAMPLE.com:443", true},
		{"example.com", "example.com.:443", true},
		{"example.com", "example.com:8443", false},
		{"example.com", "sub.example.com:443", false},
		{"example.com", "example.com.evil.org:443", false},
		{"example.com", "notexample.com:443", false},
		{"example.com:8443", "example.com:8443", true},
		{"example.com:8443", "example.com:443", false},
		{"*.example.com", "a.example.com:443", true},
		{"*.example.com", "a.b.example.com:443", true},
		{"*.example.com", "example.com:443", false},
		{"*.example.com", "aexample.com:443", false},
		{"*.example.com", "a.example.com:22", false},
		{"*.example.com:22", "a.example.com:22", true},
		{"192.0.2.7", "192.0.2.7:443", true},
		{"192.0.2.7", "192.0.2.8:443", false},
		{"[2001:db8::7]:8443", "[2001:DB8:0::7]:8443", true},
		{"[2001:db8::7]:8443", "[2001:db8::8]:8443", false},
		{"xn--bcher-kva.example", "xn--bcher-kva.example:443", true},
		{"", "example.com:443", false},
	} {
		var list []string
		if c.rules != "" {
			list = []string{c.rules}
		}
		if got := must(compile(list, hostRule)).match(must(parsePlace(c.place))); got != c.want {
			t.Errorf("%q matches %q: %v", c.rules, c.place, got)
		}
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		check func(string) error
		code  string
		good  string
		bad   string
	}{
		{
			CheckHost, "egress_host", "example.com|a_b.example.com|localhost|*.example.com|*.example.com:8443|192.0.2.7|192.0.2.7:80|[::1]|[::1]:80|127.0.0.1",
			"|*|*.|*.com|**.example.com|a.*.com|*example.com|Example.com|example.com.|example.com:0|example.com:080|example.com:65536|example.com:|:443|https://example.com|example.com/x|u@example.com|bücher.example|exa mple.com|::1|[::1|[fe80::1%25eth0]|[fe80::1%eth0]|[::ffff:10.0.0.1]|[1.2.3.4]|010.0.0.1|127.1|0x7f.1|0x7f000001|2130706433|1.2.3.4.|1.2.3.256|*.1.2.3.4|0.0.0.0|[::]|224.0.0.1|255.255.255.255|-a.example|a-.example|a..example|[2001:DB8::1]|" + strings.Repeat("a", 64) + ".example|" + strings.Repeat("a.", 126) + "aa",
		},
		{CheckTunnel, "egress_tunnel", "git.example.com:22|10.0.0.1:22|[::1]:22", "git.example.com|*.example.com:22|Git.example.com:22|:22|git.example.com:ssh"},
		{CheckPrivate, "egress_private", "intern.example.com|10.0.0.1|[fd00::1]", "intern.example.com:443|*.example.com|fd00::1|x y"},
	} {
		for s := range strings.SplitSeq(c.good, "|") {
			if err := c.check(s); err != nil {
				t.Errorf("%s: %q: %v", c.code, s, err)
			}
		}
		for s := range strings.SplitSeq(c.bad, "|") {
			var e *protocol.Error
			if err := c.check(s); !errors.As(err, &e) || e.Code != c.code || e.Exit != protocol.ExitUsage || e.Hint == "" {
				t.Errorf("%s: %q: %#v", c.code, s, err)
			}
		}
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	t.Parallel()
	for code, o := range map[string]Options{
		"egress_mode":    {},
		"egress_host":    {Mode: protocol.TakeOff, Hosts: []string{"*"}},
		"egress_tunnel":  {Mode: protocol.TakeOff, Tunnels: []string{"x"}},
		"egress_private": {Mode: protocol.TakeOff, Private: []string{"*.x.y"}},
		"egress_ca":      {Mode: protocol.TakeOff, Rand: strings.NewReader("too little")},
	} {
		if _, err := New(o); !errors.Is(err, protocol.Code(code)) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for want, addrs := range map[class]string{
		public:  "1.1.1.1 93.184.216.34 172.32.0.1 100.128.0.1 169.253.0.1 2606:4700::1111 2a00:1450::1 64:ff9b::101:101 2001:4860::8888 2600::5efe:5db8:d822 223.255.255.255",
		private: "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.1 127.255.255.254 100.64.0.1 198.18.0.1 ::1 fc00::1 fd12::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1",
		special: "0.0.0.0 0.1.2.3 169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 192.0.0.1 192.0.2.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 192.88.99.1 " +
			":: fe80::1 fec0::1 ff02::1 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 ::ffff:169.254.169.254 ::7f00:1 ::10.0.0.1 ::ffff:0:7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 " +
			"2002:7f00:1:: 2002:a00:1::1 2002:101:101::1 2001:0:101:101::1 2001:db8::1 2001:2::1 3fff::1 100::1 5f00::1 fe80::1%eth0 2600::5efe:a00:1 2600::200:5efe:7f00:1",
	} {
		for s := range strings.FieldsSeq(addrs) {
			if got := classify(netip.MustParseAddr(s)); got != want {
				t.Errorf("%s is %d, want %d", s, got, want)
			}
		}
	}
	if classify(netip.Addr{}) != special {
		t.Error("no address is an address")
	}
}

func FuzzPlace(f *testing.F) {
	for _, s := range []string{"example.com:443", "EXAMPLE.com.", "[::1]:80", "[fe80::1%25e]:1", "0x7f.1:80", "1.2.3.4", "a@b:1", "ex%61mple.com", "ü.de", "a:b:c", "[::ffff:1.2.3.4]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePlace(s)
		if err != nil {
			return
		}
		again, err := parsePlace(p.short(0))
		if err != nil || again != p {
			t.Fatalf("%q is %+v, and that is %+v, %v", s, p, again, err)
		}
		if strings.ContainsAny(s, "@%/\\?# \t\r\n") || nonASCII(s) {
			t.Fatalf("%q is taken", s)
		}
		u, err := url.Parse("https://" + s + "/")
		if err != nil {
			t.Fatalf("%q is taken, but net/url says %v", s, err)
		}
		if host := strings.TrimSuffix(strings.ToLower(u.Hostname()), "."); host != p.host && !p.addr.Is6() {
			t.Fatalf("%q is %q here and %q for net/url", s, p.host, host)
		}
		if a, err := netip.ParseAddr(u.Hostname()); (err == nil) != p.addr.IsValid() || err == nil && a != p.addr {
			t.Fatalf("%q: %v, net/netip says %v %v", s, p.addr, a, err)
		}
	})
}

func FuzzHostRule(f *testing.F) {
	f.Add("example.com", "example.com:443")
	f.Add("*.example.com", "a.example.com:443")
	f.Add("*.example.com:8443", "example.com:8443")
	f.Add("[::1]", "[::1]:80")
	f.Add("10.0.0.1", "10.0.0.1:80")
	f.Fuzz(func(t *testing.T, pattern, at string) {
		r, err := hostRule(pattern)
		p, err2 := parsePlace(at)
		if err != nil || err2 != nil || p.port == 0 || !(rules{r}).match(p) {
			return
		}
		base, port := pattern, ""
		if i := strings.LastIndexByte(pattern, ':'); i > strings.LastIndexByte(pattern, ']') {
			base, port = pattern[:i], pattern[i+1:]
		}
		if port == "" && p.port != 443 && p.port != 80 || port != "" && !strings.HasSuffix(at, ":"+port) {
			t.Fatalf("%q lets %q through by port", pattern, at)
		}
		host := strings.TrimSuffix(strings.ToLower(at[:strings.LastIndexByte(at, ':')]), ".")
		if below, ok := strings.CutPrefix(base, "*"); ok {
			if !strings.HasSuffix(host, below) || host == below[1:] {
				t.Fatalf("%q lets %q through", pattern, at)
			}
		} else if host != base && !strings.HasPrefix(base, "[") {
			t.Fatalf("%q lets %q through", pattern, at)
		}
	})
}
