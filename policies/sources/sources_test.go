package sources

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func TestName(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]config.Source{
		"acme":                  {Name: "acme", Bundle: "b.tar.gz"},
		"policies_acme.tar.gz":  {Bundle: "policies/acme.tar.gz"},
		"r.example_p@sha256:12": {OCI: "r.example/p@sha256:12"},
		".":                     {Git: ".", Dir: "."},
		"policies":              {Git: ".", Dir: "policies"},
		"https:_g.example_a_b":  {Git: "https://g.example/a", Dir: "b"},
	} {
		if got, err := Name(&s); got != want || err != nil {
			t.Errorf("%q, want %q: %v", got, want, err)
		}
	}
}

func TestBundleFile(t *testing.T) {
	t.Parallel()
	signed := fakePolicy() + "\ndata.json={}\nREADME.md=hello\nKEY"
	h := newHere(t, map[string]string{"b.tar.gz": signed, "k.pub": "KEY", "other.pub": "OTHER"})
	files := map[string]string{"p.rego": policy, "data.json": "{}"}
	h.gives(config.Source{Bundle: "b.tar.gz", Key: "k.pub"}, "b.tar.gz", files)
	h.refuses(config.Source{Bundle: "b.tar.gz", Key: "other.pub"}, protocol.ExitDenied, "policy_bundle_signature", "not signed")
	h.refuses(config.Source{Bundle: "b.tar.gz", Key: "none.pub"}, protocol.ExitUsage, "policy_bundle_key", "cannot read the key")
	h.refuses(config.Source{Bundle: "none.tar.gz", Key: "k.pub"}, protocol.ExitDenied, "policy_set_missing", "cannot read the bundle")
	h.refuses(config.Source{Bundle: "../b.tar.gz", Key: "k.pub"}, protocol.ExitDenied, "policy_set_missing", "escapes")
	h.refuses(config.Source{Bundle: ".", Key: "k.pub"}, protocol.ExitDenied, "policy_set_missing", "no regular file")
	must(t, syscall.Mkfifo(filepath.Join(h.o.Dir, "fifo"), 0o600))
	h.refuses(config.Source{Bundle: "fifo", Key: "k.pub"}, protocol.ExitDenied, "policy_set_missing", "no regular file")
	must(t, os.WriteFile(filepath.Join(h.o.Dir, "large"), make([]byte, limits.PolicyBundleKey+1), 0o600))
	h.refuses(config.Source{Bundle: "b.tar.gz", Key: "large"}, protocol.ExitUsage, "policy_bundle_key", "larger than the limit")

	plain := fakePolicy() + "\ndata.json={}"
	write(t, h.o.Dir, map[string]string{"plain": plain})
	h.gives(config.Source{Name: "acme", Bundle: "plain", SHA256: hexOf(plain)}, "acme", files)
	h.refuses(config.Source{Bundle: "plain", SHA256: hexOf("x")}, protocol.ExitDenied, "policy_bundle_digest", "the bundle has the SHA-256 "+hexOf(plain))
}

// TestRulesOfDirectories: what a directory may not hold, nothing else may either.
func TestRulesOfDirectories(t *testing.T) {
	t.Parallel()
	for body, c := range map[string]struct {
		exit       int
		code, want string
	}{
		fakePolicy() + "\nq.REGO=x":   {protocol.ExitDenied, "policy_file_name", "left out because of its name"},
		fakePolicy() + "\na/data.yml": {protocol.ExitDenied, "policy_file_name", "left out"},
		"README.md=hello":             {protocol.ExitDenied, "policy_set_empty", "no policy"},
		fakePolicy() + "\ndata.json=" + strings.Repeat(" ", limits.PolicyFile+1): {protocol.ExitDenied, "policy_set_size", "more than"},
	} {
		h := newHere(t, map[string]string{"b": body})
		h.refuses(config.Source{Bundle: "b", SHA256: hexOf(body)}, c.exit, c.code, c.want)
	}
}
