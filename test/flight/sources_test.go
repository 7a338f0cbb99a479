package flight

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/cabincrew/action/protocol"
)

// author signs bundles as opa sign does.
type author struct{ private, public string }

func newAuthor(t *testing.T) author {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return author{block("PRIVATE KEY", private), block("PUBLIC KEY", public)}
}

// bundle makes a bundle of Rego files; signed if there is an author.
func (a author) bundle(t *testing.T, files map[string]string) string {
	t.Helper()
	files = maps.Clone(files)
	if a.private != "" {
		hasher, err := bundle.NewSignatureHasher(bundle.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		var listed []bundle.FileInfo
		for _, name := range slices.Sorted(maps.Keys(files)) {
			sum, err := hasher.HashFile([]byte(files[name]))
			if err != nil {
				t.Fatal(err)
			}
			listed = append(listed, bundle.NewFile(name, hex.EncodeToString(sum), bundle.SHA256.String()))
		}
		token, err := bundle.GenerateSignedToken(listed, bundle.NewSigningConfig(a.private, "ES256", ""), "acme")
		if err != nil {
			t.Fatal(err)
		}
		files[".signatures.json"] = fmt.Sprintf(`{"signatures":[%q]}`, token)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: "/" + name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// acme is a policy set that has something to say of every plan.
func acme(decision string) map[string]string {
	return map[string]string{"acme/p.rego": "package cabincrew.acme\n\n" + decision + " contains \"acme was asked\" if input.mode == \"flight-plan\"\n"}
}

const fromBundle = "policies: {sources: [{name: acme, bundle: acme.tar.gz, key: acme.pub}]}\n"

// TestSignedBundleGoverns: a bundle judges as long as it is the one that its author
// signed, and another one is another governance.
func TestSignedBundleGoverns(t *testing.T) {
	t.Parallel()
	a := newAuthor(t)
	files := map[string]string{
		"acme.pub": a.public, "acme.tar.gz": a.bundle(t, acme("warn")), ".cabincrew.yaml": commandConfig(fromBundle, "echo two > out.txt"),
	}
	w := newWS(t, files)
	s := w.json(0, "flight-plan")
	if s.Decision != protocol.Warn {
		t.Fatalf("%+v", s)
	}
	if text := w.want(0, "show", s.WorkflowID).stdout; !strings.Contains(text, "acme was asked") {
		t.Error(text)
	}
	w.want(0, "take-off", s.WorkflowID)

	other := newWS(t, files)
	s = other.json(0, "flight-plan")
	other.write("acme.tar.gz", a.bundle(t, acme("deny")))
	if r := other.json(6, "take-off", s.WorkflowID); r.Error == nil || r.Error.Code != "governance_changed" {
		t.Errorf("%+v", r.Error)
	}
	if s = other.json(3, "flight-plan"); s.Decision != protocol.Deny {
		t.Errorf("%+v", s)
	}
}

// TestUnsignedBundleJudgesNothing: what nobody vouches for lets nothing through.
func TestUnsignedBundleJudgesNothing(t *testing.T) {
	t.Parallel()
	a := newAuthor(t)
	for name, raw := range map[string]string{"unsigned": author{}.bundle(t, acme("warn")), "of somebody else": newAuthor(t).bundle(t, acme("warn"))} {
		w := newWS(t, map[string]string{
			"acme.pub": a.public, "acme.tar.gz": raw, ".cabincrew.yaml": commandConfig(fromBundle, "echo two > out.txt"),
		})
		s := w.json(3, "flight-plan")
		if s.Error == nil || s.Error.Code != "policy_bundle_signature" || w.exists("out.txt") {
			t.Errorf("%s: %+v", name, s.Error)
		}
	}
}

// TestPoliciesOfABranch: the policies of a commit judge, not those in the work tree.
func TestPoliciesOfABranch(t *testing.T) {
	t.Parallel()
	deny := acme("deny")["acme/p.rego"]
	w := newWS(t, map[string]string{
		"pol/p.rego": deny, ".cabincrew.yaml": commandConfig("policies: {sources: [{git: ., ref: main, path: pol}]}\n", "echo two > out.txt"),
	})
	w.git("init", "-q", "-b", "main")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "start")
	w.write("pol/p.rego", strings.Replace(deny, "deny", "warn", 1))
	s := w.json(3, "flight-plan")
	if s.Decision != protocol.Deny {
		t.Fatalf("%+v", s)
	}
	w.git("commit", "-q", "-a", "-m", "milder")
	if s = w.json(0, "flight-plan"); s.Decision != protocol.Warn {
		t.Errorf("%+v", s)
	}
	if r := w.run("flight-plan", "--log-level", "debug"); !strings.Contains(r.stderr, "commit=") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}
