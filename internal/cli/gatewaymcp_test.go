package cli

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/config"
)

func TestGatewayWrongUse(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	for name, c := range map[string]struct {
		args  []string
		words []string
	}{
		"server":         {[]string{"--stdio=nonesuch"}, []string{"gateway_server", "nonesuch", "files"}},
		"no dashes":      {[]string{"npx", "server"}, []string{"usage", "-- npx server"}},
		"stdio apart":    {[]string{"--stdio", "files"}, []string{"usage", "files"}},
		"root":           {[]string{"--root", "."}, []string{"usage", "--root"}},
		"sandbox":        {[]string{"--sandbox", "auto"}, []string{"usage", "--sandbox"}},
		"both doors":     {[]string{"--stdio", "--listen", "127.0.0.1:0"}, []string{"usage", "--listen"}},
		"env":            {[]string{"--env", "A=b"}, []string{"usage", "--env"}},
		"env's name":     {[]string{"--env", "A B=very-secret", "--", "sh"}, []string{"usage", "--env is not a variable's name"}},
		"env of ours":    {[]string{"--env", "CABINCREW_CONFIG=x", "--", "sh"}, []string{"usage", "reserved"}},
		"env not there":  {[]string{"--env", "NOBODY_SET_IT", "--", "sh"}, []string{"env_missing", "NOBODY_SET_IT"}},
		"token not set":  {[]string{"--env", "NO_TOKEN", "--", "sh"}, []string{"gateway_secret", "NO_TOKEN"}},
		"sandbox's word": {[]string{"--sandbox", "some", "--", "x"}, []string{"usage", "--sandbox"}},
		"address":        {[]string{"--listen", "nowhere"}, []string{"gateway_listen", "127.0.0.1:3940"}},
		"open":           {[]string{"--listen", "0.0.0.0:0"}, []string{"gateway_open", "nobody need say"}},
		"open, no host":  {[]string{"--listen", ":0"}, []string{"gateway_open"}},
		"open, by name":  {[]string{"--listen", "gateway.example:0"}, []string{"gateway_open"}},
		"flag":           {[]string{"--nonesuch"}, []string{"nonesuch"}},
		"missing root":   {[]string{"--root", "nowhere", "--", "sh"}, []string{"gateway_roots"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := w.tell("", append([]string{"gateway", "mcp"}, c.args...)...)
			if code != 2 || out != "" {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
			for _, word := range c.words {
				if !strings.Contains(errs, word) {
					t.Errorf("%q is missing in %s", word, errs)
				}
			}
		})
	}
}

// TestGatewayEnvironment: the server that the command line names has what --env says, and
// nothing else of the gateway's environment; a credential is redacted.
func TestGatewayEnvironment(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	w.env = append(w.env, "PLAIN=of-the-caller", "API_TOKEN=correct-horse-battery", "OTHER_TOKEN=not-for-the-server", "LANG=C.UTF-8")
	p := w.pipe("--env", "PLAIN", "--env", "API_TOKEN", "--env", "SET=a=b c", "--env", "EMPTY=", "--", w.argv(0), w.argv(1), w.argv(2))
	p.hello()
	got := p.call("env", nil)
	text := string(got.Result)
	for _, want := range []string{"PLAIN=of-the-caller", "SET=a=b c", `EMPTY=\n`, "API_TOKEN=", "HOME=", "PATH=", "LANG=C.UTF-8"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	if strings.Contains(text, "correct-horse") || strings.Contains(text, "not-for-the-server") {
		t.Errorf("it told %s", text)
	}
	p.end()
	p = w.pipe("--", w.argv(0), w.argv(1), w.argv(2))
	p.hello()
	if text := string(p.call("env", nil).Result); strings.Contains(text, "PLAIN") || strings.Contains(text, "TOKEN") {
		t.Errorf("without --env it has %s", text)
	}
	p.end()
}

func TestGatewayBadConfiguration(t *testing.T) {
	t.Parallel()
	one := "version: 1\nservers: {files: {command: %s}}\n"
	for name, c := range map[string]struct {
		text  string
		words []string
	}{
		"version":          {strings.Replace(one, "1", "2", 1), []string{"config_version"}},
		"key":              {one + "lisen: x\n", []string{"lisen", "did you mean"}},
		"rule":             {one + "rules: [{match: {tol: x}, action: deny}]\n", []string{"gateway_rule", "tol"}},
		"secret":           {"version: 1\nservers: {files: {command: %s, secrets: {A: \"env:NOT_SET\"}}}\n", []string{"gateway_secret", "NOT_SET"}},
		"variable":         {"version: 1\nservers: {files: {command: %s, env: {A: \"env:NOT_SET\"}}}\n", []string{"env_missing", "NOT_SET"}},
		"certificate":      {one + "clients: {cert: c.pem, key: k.pem}\nlisten: 127.0.0.1:0\n", []string{"gateway_tls"}},
		"approver's key":   {one + "approvals: {approvers: [{name: a, roles: [b], key: nowhere.pub}]}\n", []string{"nowhere.pub"}},
		"policies":         {one + "policies: {rego: [nowhere/]}\n", []string{"policy_set_missing"}},
		"lock":             {one + "tools: {lock: broken.lock}\n", []string{"broken.lock"}},
		"roots":            {one + "roots: [nowhere]\n", []string{"gateway_roots"}},
		"confined nowhere": {"version: 1\nservers: {files: {command: %s, sandbox: auto}}\n", []string{"gateway_roots", "roots"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTower(t, map[string]string{"broken.lock": "no lock"})
			w.configure(c.text)
			code, out, errs := w.tell("", "gateway", "mcp")
			if code == 0 || code == 1 || out != "" {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
			for _, word := range c.words {
				if !strings.Contains(errs, word) {
					t.Errorf("%q is missing in %s", word, errs)
				}
			}
		})
	}
	w := newTower(t, nil)
	remove(t, w.path(config.GatewayFile))
	w.say(2, []string{"config_not_found"}, "gateway", "mcp")
}

func TestGatewayOverStdio(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	for name, args := range map[string][]string{
		"one server": {"--stdio=files"}, "all servers": {"--stdio"}, "no file": {"--root", "work", "--", w.argv(0), w.argv(1), w.argv(2)},
	} {
		p := w.pipe(args...)
		p.hello()
		p.send(`{"jsonrpc":"2.0","id":77,"method":"tools/list"}`)
		if m := p.answer(77); m.Error != nil || !strings.Contains(string(m.Result), `"echo"`) {
			t.Errorf("%s: %s %+v", name, m.Result, m.Error)
		}
		allowed(t, p.call("echo", map[string]any{"text": "12345678901234567890"}), "12345678901234567890")
		allowed(t, p.call("read", map[string]any{"path": w.path("work/a.txt")}), "a file")
		refused(t, p.call("read", map[string]any{"path": "/etc/passwd"}), -32050, "outside the roots")
		if name != "no file" {
			refused(t, p.call("wipe", nil), -32050, "no-wiping", "nothing is wiped")
		}
		if err := p.in.Close(); err != nil {
			t.Fatal(err)
		}
		if code := p.ended(); code != 0 {
			t.Errorf("%s: exit %d\n%s", name, code, p.log)
		}
		if log := p.log.String(); !strings.Contains(log, "one client over stdin and stdout") || !strings.Contains(log, "1 server,") {
			t.Errorf("%s: %s", name, log)
		}
		w.say(0, []string{"events"}, "audit", "verify", "--gateway", "mcp")
	}
	if strings.Contains(received(t, w.server), "passwd") || strings.Contains(received(t, w.server), "wipe") {
		t.Error("what was denied reached the server")
	}
}
