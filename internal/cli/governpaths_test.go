package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/cabincrew/action/policies/rules"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// governedKeys are the keys of the configuration that name a file or directory by
// which is judged, each with a file of it in allKeys' workspace.
func governedKeys() map[string]string {
	return map[string]string{
		"after.rego[]":                    "conf/after/a.rego",
		"approvals.approvers[].key":       "conf/keys/boss.pub",
		"models[].oci_layout":             "conf/m/images/index.json",
		"models[].path":                   "conf/m/risk.onnx",
		"policies.rego[]":                 "conf/pol/sub/p.rego",
		"policies.secrets.baseline":       "conf/known.json",
		"policies.sources[].bundle":       "conf/b/acme.tar.gz",
		"policies.sources[].key":          "conf/keys/acme.pub",
		"policies.sources[].oci_layout":   "conf/images/index.json",
		"signing.key":                     "conf/plan.key.pub",
		"audit.key":                       "conf/log.key.pub",
		"signing.trusted.keys[].key":      "conf/keys/old.pub",
		"signing.trusted_root":            "conf/trusted_root.json",
		"the configuration itself":        "conf/c.yaml",
		"code owners, whatever the forge": ".github/CODEOWNERS",
	}
}

// otherKeys are all other keys whose value is a text. A key that names something by
// which is judged does not belong here.
func otherKeys() []string {
	return slices.Concat(
		// A repository in the workspace is refused, and "." means its commits.
		[]string{"policies.sources[].git", "policies.sources[].ref", "policies.sources[].path"},
		// Within an artifact that is named by its digest.
		[]string{"models[].file"},
		// What a step does is what is judged; its programs are in its token.
		[]string{
			"steps[].engine.args[]", "steps[].engine.oci", "steps[].engine.oci_layout", "steps[].engine.run[]", "steps[].engine.use", "steps[].engine.wasm",
			"steps[].env.*", "steps[].hosts[]", "steps[].id", "steps[].inputs[]", "steps[].limits.artifact_bytes", "steps[].limits.log", "steps[].limits.receipt",
			"steps[].model", "steps[].needs[]", "steps[].target", "steps[].timeout", "steps[].tools[]", "steps[].tunnels[]",
		},
		// Secrets are the machine's, wherever governance comes from.
		[]string{"steps[].secrets.*", "steps[].secrets.*.from", "signing.identity_token"},
		// No files.
		[]string{
			"after.bundled[]", "approvals.approvers[].email", "approvals.approvers[].name", "approvals.approvers[].not_after", "approvals.approvers[].not_before",
			"approvals.approvers[].roles[]", "approvals.default_role", "approvals.expire", "models[].bundled", "models[].decisions[].at_least", "models[].decisions[].label",
			"models[].decisions[].role", "models[].labels[]", "models[].name", "models[].oci", "models[].output", "models[].reads.mime[]", "models[].reads.types[]",
			"models[].sha256", "models[].timeout", "policies.bundled[]", "policies.custom_rule", "policies.exemptions[].paths[]", "policies.exemptions[].reason",
			"policies.exemptions[].rule", "policies.exemptions[].until", "policies.secrets.role", "policies.sources[].name", "policies.sources[].oci",
			"policies.sources[].sha256", "policies.timeout", "rules[].id", "rules[].reason", "rules[].role", "workflow",
			"approvals.break_glass.expire", "approvals.environments[]", "approvals.roles.*.teams[]", "approvals.roles.*.users[]", "governance.refs[]",
			"min_version", "storage.encrypt_to[]", "storage.flights", "signing.fulcio_url", "signing.rekor_url", "signing.timestamp_url", "signing.trusted.identities[].events[]", "signing.trusted.identities[].issuer",
			"signing.trusted.identities[].owner_id", "signing.trusted.identities[].ref", "signing.trusted.identities[].repository_id",
			"signing.trusted.identities[].runner_environment", "signing.trusted.identities[].san", "signing.trusted.identities[].signer_digests[]",
			"signing.trusted.identities[].signer_uri", "signing.trusted.keys[].not_after", "signing.trusted.keys[].not_before",
		},
		matchKeys("rules[].match"), matchKeys("rules[].except"),
	)
}

func matchKeys(of string) []string {
	var out []string
	for _, k := range []string{"actions", "artifact_types", "branches", "labels", "paths", "steps", "targets"} {
		out = append(out, of+"."+k+"[]")
	}
	return out
}

// textKeys walks the schema of the configuration.
func textKeys(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../../schemas/config.schema.json")
	must(t, err)
	var schema map[string]any
	must(t, json.Unmarshal(raw, &schema))
	found := map[string]bool{}
	var walk func(v any, at string)
	walk = func(v any, at string) {
		n, ok := v.(map[string]any)
		if !ok {
			return
		}
		if ref, ok := n["$ref"].(string); ok {
			name, ok := strings.CutPrefix(ref, "#/$defs/")
			if !ok {
				t.Fatal(ref)
			}
			walk(schema["$defs"].(map[string]any)[name], at) //nolint:forcetypeassert // a test may panic
		}
		for _, k := range []string{"oneOf", "anyOf", "allOf"} {
			list, _ := n[k].([]any)
			for _, one := range list {
				walk(one, at)
			}
		}
		properties, _ := n["properties"].(map[string]any)
		for k, one := range properties {
			walk(one, strings.TrimPrefix(at+"."+k, "."))
		}
		walk(n["items"], at+"[]")
		walk(n["additionalProperties"], at+".*")
		if n["type"] == "string" || n["pattern"] != nil {
			found[at] = true
		}
	}
	walk(schema, "")
	return slices.Sorted(maps.Keys(found))
}

// TestEveryKeyIsSorted: whoever adds a key has to say here whether it names
// something by which is judged.
func TestEveryKeyIsSorted(t *testing.T) {
	t.Parallel()
	keys := textKeys(t)
	if len(keys) < 50 {
		t.Fatalf("the walk found only %q", keys)
	}
	governed, other := governedKeys(), otherKeys()
	for _, k := range keys {
		if _, ok := governed[k]; ok == slices.Contains(other, k) {
			t.Errorf("%s must be in exactly one of governedKeys and otherKeys: does it name a file by which is judged?", k)
		}
	}
	for _, k := range other {
		if !slices.Contains(keys, k) {
			t.Errorf("there is no key %s", k)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// allKeys makes a workspace whose configuration uses every key of governedKeys,
// commits it to main and checks out the branch change.
func allKeys(t *testing.T) *desk {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("this test makes repositories with git, and here there is none:", err)
	}
	d := &desk{t: t, dir: filepath.Join(t.TempDir(), "ws"), env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}}
	_, boss, err := signing.Generate(signing.Ed25519, nil, nil)
	must(t, err)
	private, plan, err := signing.Generate(signing.Ed25519, nil, nil)
	must(t, err)
	_, old, err := signing.Generate(signing.Ed25519, nil, nil)
	must(t, err)
	archive, acme := signedBundle(t)
	rego := func(name string) string {
		return "package cabincrew." + name + "\n\ndeny contains \"no\" if input.mode == \"nonesuch\"\n"
	}
	for name, text := range map[string]string{
		"conf/pol/sub/p.rego": rego("p"), "conf/after/a.rego": rego("a"), "conf/own/o.rego": rego("o"), "conf/keys/boss.pub": string(boss), "conf/keys/acme.pub": acme, "conf/plan.key.pub": string(plan), "conf/log.key.pub": string(plan),
		"conf/keys/old.pub": string(old), "conf/trusted_root.json": trustedRoot(t),
		"conf/b/acme.tar.gz": string(archive), "conf/known.json": `{"version": 1, "findings": []}`, "conf/m/risk.onnx": "a model", ".github/CODEOWNERS": "* @boss\n",
		".gitignore": "plan.key\nlog.key\n.cabincrew/\n",
	} {
		d.write(name, text)
	}
	d.write("conf/plan.key", string(private))
	d.write("conf/log.key", string(private))
	sets := d.layout("conf/images", types.MediaType("application/vnd.cncf.openpolicyagent.policy.layer.v1+rego"), "q.rego", rego("q"))
	model := d.layout("conf/m/images", types.OCIUncompressedLayer, "", tarOf(t, "risk.onnx", "another model"))
	d.write("conf/c.yaml", fmt.Sprintf(`version: 1
workflow: governed
steps: [{id: edit, engine: {use: command, with: {run: ["true"]}}}]
policies:
  rego: [pol]
  sources:
    - {name: acme, bundle: b/acme.tar.gz, key: keys/acme.pub}
    - {name: image, oci: "registry.example/p@%s", oci_layout: images}
    - {name: own, git: ., ref: refs/heads/main, path: conf/own}
  secrets: {baseline: known.json}
after: {rego: [after]}
models:
  - {name: a, path: m/risk.onnx, sha256: %x, labels: [x, y], decisions: [{label: y, at_least: 0.5, decision: warn}]}
  - {name: b, oci: "registry.example/m@%s", oci_layout: m/images, sha256: %x, labels: [x, y], decisions: [{label: y, at_least: 0.5, decision: warn}]}
approvals: {approvers: [{name: boss, roles: [policy-owner], key: keys/boss.pub}]}
signing: {key: plan.key, trusted_root: trusted_root.json, trusted: {keys: [{key: keys/old.pub}]}}
audit: {sign: checkpoint, key: log.key}
`, sets, sha256.Sum256([]byte("a model")), model, sha256.Sum256([]byte("another model"))))
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "start"}, {"checkout", "-q", "-b", "change"}} {
		d.git(args...)
	}
	return d
}

func (d *desk) git(args ...string) string {
	d.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", d.dir, "-c", "user.email=a@example.com", "-c", "user.name=A", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Env = append(slices.Clone(d.env), "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// layout makes an OCI layout with one image of one layer, and gives its digest.
func (d *desk) layout(at string, kind types.MediaType, title, body string) string {
	d.t.Helper()
	add := mutate.Addendum{Layer: static.NewLayer([]byte(body), kind), MediaType: kind}
	if title != "" {
		add.Annotations = map[string]string{"org.opencontainers.image.title": title}
	}
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), add)
	must(d.t, err)
	to, err := layout.Write(d.path(at), empty.Index)
	must(d.t, err)
	must(d.t, to.AppendImage(image))
	digest, err := image.Digest()
	must(d.t, err)
	return digest.String()
}

func tarOf(t *testing.T, name, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}))
	_, err := io.WriteString(w, body)
	must(t, err)
	must(t, w.Close())
	return b.String()
}

// signedBundle makes an OPA bundle and the key that signed it.
func signedBundle(t *testing.T) (archive []byte, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	must(t, err)
	policy := "package cabincrew.acme\n\ndeny contains \"no\" if input.mode == \"nonesuch\"\n"
	hasher, err := bundle.NewSignatureHasher(bundle.SHA256)
	must(t, err)
	sum, err := hasher.HashFile([]byte(policy))
	must(t, err)
	token, err := bundle.GenerateSignedToken([]bundle.FileInfo{bundle.NewFile("acme/p.rego", hex.EncodeToString(sum), "SHA-256")},
		bundle.NewSigningConfig(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "ES256", ""), "k")
	must(t, err)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, body := range map[string]string{"/acme/p.rego": policy, "/.signatures.json": fmt.Sprintf(`{"signatures":[%q]}`, token)} {
		must(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}))
		_, err := io.WriteString(w, body)
		must(t, err)
	}
	must(t, w.Close())
	must(t, z.Close())
	return b.Bytes(), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// judged tells by what would be judged now.
func (d *desk) judged(ref string) (by string, changed, paths []string, err error) {
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, env: environ(d.env)}
	a.flags.config, a.flags.workspace, a.flags.governanceRef = d.path("conf/c.yaml"), d.dir, ref
	s, err := a.open(d.t.Context())
	if err != nil {
		return "", nil, nil, err
	}
	defer func() { must(d.t, s.done()) }()
	by = s.setup.Governance.Hash + s.setup.Governance.PolicyDigest
	signed, _ := s.crew.Signatures.(*signatures)
	for _, k := range slices.Concat(signed.trust.Keys, signed.approvers) {
		by += " " + k.Key.Fingerprint()
	}
	for i := range s.setup.Config.Models {
		m, err := a.model(&s.setup.Config.Models[i], "x", s.origin.dir)
		must(d.t, err)
		f, err := m.Open(d.t.Context())
		if err != nil {
			return "", nil, nil, err
		}
		data, err := io.ReadAll(f)
		must(d.t, err)
		must(d.t, f.Close())
		by += " " + string(data)
	}
	return by, s.origin.changed, s.setup.Governance.Paths, nil
}

// TestPathsOfGovernance: under a ref nothing that judges comes from the workspace,
// by whichever key it is named, and what is there instead is told.
func TestPathsOfGovernance(t *testing.T) {
	t.Parallel()
	d := allKeys(t)
	want, changed, paths, err := d.judged("main")
	if err != nil || len(changed) != 0 {
		t.Fatalf("%q, %v", changed, err)
	}
	for name, do := range map[string]func(at string) error{
		"another file":      func(at string) error { return os.WriteFile(at, []byte("version: 1\njunk\n"), 0o600) },
		"nothing":           func(string) error { return nil },
		"a link out of it":  func(at string) error { return os.Symlink("/etc/passwd", at) },
		"a link to nowhere": func(at string) error { return os.Symlink("nonesuch", at) },
		"a directory":       func(at string) error { return os.Mkdir(at, 0o755) },
	} {
		for key, file := range governedKeys() {
			if !rules.Governs(paths, file) {
				t.Errorf("%s: %s is none of %q", key, file, paths)
			}
			good, err := os.ReadFile(d.path(file))
			must(t, err)
			must(t, os.Remove(d.path(file)))
			must(t, do(d.path(file)))
			got, changed, _, err := d.judged("main")
			if err != nil || got != want || !slices.Contains(changed, file) {
				t.Errorf("%s of %s is %s: %v, changed %q, judged by\n%s\nnot\n%s", file, key, name, err, changed, got, want)
			}
			if here, _, _, err := d.judged(""); err == nil && here == want && !strings.Contains(file, "CODEOWNERS") {
				t.Errorf("%s of %s is %s: without a ref it makes no difference, so this test shows nothing", file, key, name)
			}
			must(t, os.RemoveAll(d.path(file)))
			must(t, os.WriteFile(d.path(file), good, 0o600))
		}
	}
	must(t, os.Rename(d.path("conf"), d.path("away")))
	must(t, os.Symlink("/etc", d.path("conf")))
	if _, _, _, err := d.judged("main"); protocol.ExitCode(err) != protocol.ExitUsage {
		t.Error("the configuration's directory leads out of the workspace:", err)
	}
}

// TestSigningKeyByItsWholePath: a key that lies in the workspace is governed by
// whichever name.
func TestSigningKeyByItsWholePath(t *testing.T) {
	t.Parallel()
	d := allKeys(t)
	top, err := filepath.EvalSymlinks(d.dir)
	must(t, err)
	outside := t.TempDir()
	must(t, os.Symlink(top, filepath.Join(outside, "ws")))
	commit := func(key string) {
		d.change(d.path("conf/c.yaml"), d.key(), "signing: {key: "+key+"}")
		d.git("commit", "-q", "-a", "-m", "key")
	}
	commit(filepath.Join(top, "conf/plan.key"))
	want, changed, paths, err := d.judged("change")
	if err != nil || len(changed) != 0 || !slices.Contains(paths, "conf/plan.key.pub") {
		t.Fatal(changed, paths, err)
	}
	good, err := os.ReadFile(d.path("conf/plan.key.pub"))
	must(t, err)
	d.write("conf/plan.key.pub", "junk")
	if got, changed, _, err := d.judged("change"); err != nil || got != want || !slices.Equal(changed, []string{"conf/plan.key.pub"}) {
		t.Error(got, changed, err)
	}
	d.write("conf/plan.key.pub", string(good))
	commit(filepath.Join(outside, "ws/conf/plan.key"))
	if _, _, _, err := d.judged("change"); protocol.ExitCode(err) != protocol.ExitUsage || !strings.Contains(fmt.Sprint(err), "leads through the workspace") {
		t.Error("a way around:", err)
	}
	must(t, os.WriteFile(filepath.Join(outside, "plan.key.pub"), good, 0o600))
	commit(filepath.Join(outside, "plan.key"))
	if _, _, _, err := d.judged("change"); err != nil {
		t.Error("outside:", err)
	}
}

// key gives the line of the configuration that names the signing key.
func (d *desk) key() string {
	d.t.Helper()
	raw, err := os.ReadFile(d.path("conf/c.yaml"))
	must(d.t, err)
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "signing:") {
			return strings.TrimSuffix(line, "\n")
		}
	}
	d.t.Fatal("no key")
	return ""
}

// TestHashCoversThePlanKey: whose plans take off is part of the governance, and not
// only where the key is.
func TestHashCoversThePlanKey(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.change(d.path(".cabincrew.yaml"), "retention:", "signing: {key: plan}\nretention:")
	exchange := func() {
		private, public, err := signing.Generate(signing.Ed25519, nil, nil)
		must(t, err)
		d.write("plan", string(private))
		d.write("plan.pub", string(public))
	}
	hash := func() string {
		text := d.must(0, nil, "policy", "input", "--flight", d.plan(4))
		var doc struct {
			PlanToken protocol.PlanToken `json:"plan_token"`
		}
		must(t, json.Unmarshal([]byte(text), &doc))
		return doc.PlanToken.GovernanceHash
	}
	exchange()
	first := hash()
	if again := hash(); again != first || first == "" {
		t.Errorf("the same governance has the hashes %q and %q", first, again)
	}
	exchange()
	if other := hash(); other == first {
		t.Error("another key of the same name has the same hash")
	}
}

// trustedRoot makes a trusted_root.json with one authority.
func trustedRoot(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(2_700_000_000, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return fmt.Sprintf(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[{"subject":{"organization":"o","commonName":"an authority"},`+
		`"uri":"https://ca.example","certChain":{"certificates":[{"rawBytes":%q}]},"validFor":{"start":"2024-01-01T00:00:00Z"}}]}`, base64.StdEncoding.EncodeToString(der))
}
