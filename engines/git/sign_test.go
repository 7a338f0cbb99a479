package git

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSigned has git verify what was signed with each kind of key.
func TestSigned(t *testing.T) {
	t.Parallel()
	needs(t, "ssh-keygen")
	for kind, args := range map[string][]string{
		"ed25519": {"-t", "ed25519"}, "ecdsa": {"-t", "ecdsa", "-b", "384"}, "rsa": {"-t", "rsa", "-b", "2048"}, "ecdsa pem": {"-t", "ecdsa", "-m", "PEM"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f, remote := plannedFlight(t)
			plain := f.evidence().Commit
			dir := t.TempDir()
			key := filepath.Join(dir, "key")
			out, err := exec.Command("ssh-keygen", append(args, "-q", "-N", "", "-f", key)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			private, err := os.ReadFile(key)
			must(t, err)
			public, err := os.ReadFile(key + ".pub")
			must(t, err)
			f.secrets = map[string]any{"GIT_SIGNING_KEY": strings.TrimSpace(string(private))}
			e := f.plan()
			if !e.Signed || e.Commit == plain {
				t.Errorf("%+v", e)
			}
			first := f.read()
			if strings.Contains(first, "PRIVATE KEY") {
				t.Error("the artifacts hold the key")
			}
			if f.plan(); f.read() != first {
				t.Error("signed twice gives other bytes")
			}
			f.fetch(f.repo)
			allowed := filepath.Join(dir, "allowed")
			must(t, os.WriteFile(allowed, fmt.Appendf(nil, "c@example.org namespaces=\"git\" %s", public), 0o600))
			verify := []string{"-c", "gpg.format=ssh", "-c", "gpg.ssh.allowedSignersFile=" + allowed, "verify-commit", "-v", e.Commit}
			if text := git(t, f.repo, verify...); !strings.Contains(text, `Good "git" signature for c@example.org`) {
				t.Error(text)
			}
			listed, err := exec.Command("ssh-keygen", "-lf", key+".pub").Output()
			must(t, err)
			if fields := strings.Fields(string(listed)); !strings.HasSuffix(e.SigningKey, fields[1]) {
				t.Errorf("%s, ssh-keygen says %s", e.SigningKey, fields[1])
			}
			f.secrets = nil // take-off needs no key
			f.pushes()
			if got := git(t, remote, "rev-parse", "bot/update"); got != e.Commit {
				t.Error(got)
			}
		})
	}
	t.Run("not wanted", func(t *testing.T) {
		t.Parallel()
		f, _ := plannedFlight(t)
		plain := f.evidence().Commit
		f.secrets = map[string]any{"GIT_SIGNING_KEY": "unused"}
		f.config["sign"] = false
		if e := f.plan(); e.Signed || e.Commit != plain {
			t.Errorf("%+v", e)
		}
	})
	t.Run("locked key", func(t *testing.T) {
		t.Parallel()
		f, _ := plannedFlight(t)
		key := filepath.Join(t.TempDir(), "key")
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "passphrase", "-f", key).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		private, err := os.ReadFile(key)
		must(t, err)
		f.secrets = map[string]any{"GIT_SIGNING_KEY": string(private)}
		f.refused("passphrase")
	})
	t.Run("signature of another commit", func(t *testing.T) {
		t.Parallel()
		f, _ := plannedFlight(t)
		_, text := newKey(t)
		f.secrets = map[string]any{"GIT_SIGNING_KEY": text}
		f.plan()
		s, err := readSettings(f.config)
		must(t, err)
		root, err := os.OpenRoot(f.artifacts)
		must(t, err)
		defer func() { must(t, root.Close()) }()
		p, err := s.planned(root)
		must(t, err)
		must(t, s.checkSignature(p))
		p.when++
		if err := s.checkSignature(p); err == nil || !strings.Contains(err.Error(), "does not fit") {
			t.Error(err)
		}
		for _, bad := range []string{"x", sshsigBegin + "\nAAAA\n" + sshsigEnd, strings.Replace(p.commit.signature, "U1NIU0lH", "U1NIU0lI", 1)} {
			p.commit.signature = bad
			if err := s.checkSignature(p); err == nil {
				t.Errorf("%q was taken", bad)
			}
		}
	})
}
