package rego

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

const bundlePolicy = "package acme\n\ndeny contains \"no\" if input.mode == \"nonesuch\"\n"

// entries of an archive, in order.
type tarEntry struct {
	name, body, link string
	kind             byte
	pax              map[string]string
}

func tarGz(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o644, Size: int64(len(e.body)), PAXRecords: e.pax}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.kind == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: e.kind, PAXRecords: e.pax}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(e.name, err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type fileMap map[string]string

func (f fileMap) with(name, body string) fileMap {
	out := maps.Clone(f)
	out[name] = body
	return out
}

func (f fileMap) archive(t testing.TB) []byte {
	t.Helper()
	var entries []tarEntry
	for _, name := range slices.Sorted(maps.Keys(f)) {
		entries = append(entries, tarEntry{name: "/" + name, body: f[name]})
	}
	return tarGz(t, entries...)
}

// listed gives what a signature says of files.
func (f fileMap) listed(t testing.TB, alg bundle.HashingAlgorithm) []bundle.FileInfo {
	t.Helper()
	var out []bundle.FileInfo
	hasher, err := bundle.NewSignatureHasher(alg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if name == ".signatures.json" {
			continue
		}
		var v any = []byte(f[name])
		if bundle.IsStructuredDoc(name) {
			v = nil
			if err := json.Unmarshal([]byte(f[name]), &v); err != nil {
				t.Fatal(name, err)
			}
		}
		sum, err := hasher.HashFile(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, bundle.NewFile(name, hex.EncodeToString(sum), alg.String()))
	}
	return out
}

func (f fileMap) signatures(token string) fileMap {
	return f.with(".signatures.json", fmt.Sprintf(`{"signatures":[%q]}`, token))
}

// pair is a key pair as PEM.
type pair struct {
	private crypto.Signer
	pem     string
	key     *BundleKey
	alg     string
}

func newPair(t testing.TB, private crypto.Signer, alg string) pair {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		private, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})),
		&BundleKey{Where: "keys/acme.pub", PEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})}, alg,
	}
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, _ := rsa.GenerateKey(rand.Reader, 2048)
	return k
})

func ecPair(t testing.TB, curve elliptic.Curve, alg string) pair {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newPair(t, k, alg)
}

// signed signs files with OPA's own signing code.
func (p pair) signed(t testing.TB, f fileMap) fileMap {
	t.Helper()
	token, err := bundle.GenerateSignedToken(f.listed(t, bundle.SHA256), bundle.NewSigningConfig(p.pem, p.alg, ""), "acme-2026")
	if err != nil {
		t.Fatal(err)
	}
	return f.signatures(token)
}

// handmade signs claims as opa sign would, without any of its code.
func (p pair) handmade(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	var sig []byte
	var err error
	switch k := p.private.(type) {
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, k, sum[:])
		sig, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), e
	case *rsa.PrivateKey:
		sig, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func good() fileMap {
	return fileMap{
		".manifest": `{"revision":"1","roots":["acme"],"rego_version":1}`, "acme/p.rego": bundlePolicy,
		"acme/data.json": `{"most": 3, "names": ["b", "a"]}`, "README.md": "hello\n",
	}
}

func TestSignedBundle(t *testing.T) {
	t.Parallel()
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]pair{
		"RS256": newPair(t, rsaKey(), "RS256"), "RS512": newPair(t, rsaKey(), "RS512"), "PS256": newPair(t, rsaKey(), "PS256"),
		"ES256": ecPair(t, elliptic.P256(), "ES256"), "ES384": ecPair(t, elliptic.P384(), "ES384"), "ES512": ecPair(t, elliptic.P521(), "ES512"),
		"EdDSA": newPair(t, edKey, "EdDSA"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := p.signed(t, good())
			files, err := Bundle(f.archive(t), p.key, "b.tar.gz")
			if err != nil {
				t.Fatal(err)
			}
			got := fileMap{}
			for _, one := range files {
				got[one.Path] = string(one.Data)
			}
			if !maps.Equal(got, f) {
				t.Errorf("%v", got)
			}
			if !slices.IsSortedFunc(files, func(a, b policies.SetFile) int { return strings.Compare(a.Path, b.Path) }) {
				t.Error("not sorted")
			}
			// With other white space a data file is the same document: so OPA hashes it.
			if _, err := Bundle(f.with("acme/data.json", `{"names":["b","a"],"most":3}`).archive(t), p.key, "b"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHandmadeSignature(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]pair{"ES256": ecPair(t, elliptic.P256(), "ES256"), "RS256": newPair(t, rsaKey(), "RS256")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims := map[string]any{"files": good().listed(t, bundle.SHA512), "scope": "write", "iss": "acme", "iat": 1}
			f := good().signatures(p.handmade(t, map[string]any{"alg": name, "typ": "JWT", "kid": "other"}, claims))
			key := *p.key
			key.Scope = "write"
			if _, err := Bundle(f.archive(t), &key, "b"); err != nil {
				t.Error(err)
			}
			refused(t, f.archive(t), p.key, "policy_bundle_signature", "scope mismatch")
		})
	}
}

func refused(t *testing.T, raw []byte, key *BundleKey, code, want string) (hint string) {
	t.Helper()
	_, err := Bundle(raw, key, "b.tar.gz")
	var e *protocol.Error
	if !asProtocol(err, &e) || e.Code != code || !strings.Contains(e.Error(), want) {
		t.Fatalf("%v, want %s with %q", err, code, want)
	}
	exit := protocol.ExitDenied
	if code == "policy_bundle_key" {
		exit = protocol.ExitUsage
	}
	if e.ExitCode() != exit || e.Hint == "" {
		t.Errorf("exit %d, hint %q", e.ExitCode(), e.Hint)
	}
	return e.Hint
}

func TestBundleSignatureRefusals(t *testing.T) {
	t.Parallel()
	p, other := ecPair(t, elliptic.P256(), "ES256"), ecPair(t, elliptic.P256(), "ES256")
	f := p.signed(t, good())
	token := func(header map[string]any, listed []bundle.FileInfo) fileMap {
		return good().signatures(p.handmade(t, header, map[string]any{"files": listed}))
	}
	es := map[string]any{"alg": "ES256", "kid": "k"}
	all := good().listed(t, bundle.SHA256)
	// Who knows the public key only signs with it as a secret.
	confused := p.handmade(t, map[string]any{"alg": "HS256", "kid": "k"}, map[string]any{"files": all})
	mac := hmac.New(sha256.New, p.key.PEM)
	mac.Write([]byte(confused[:strings.LastIndex(confused, ".")]))
	confused = confused[:strings.LastIndex(confused, ".")+1] + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	without := maps.Clone(f)
	delete(without, "README.md")
	for name, c := range map[string]struct {
		files fileMap
		key   *BundleKey
		want  string
	}{
		"unsigned":               {good(), p.key, "it is not signed: it has no .signatures.json"},
		"other key":              {f, other.key, "failed to verify JWT signature"},
		"changed policy":         {f.with("acme/p.rego", bundlePolicy+"\n"), p.key, "digest mismatch"},
		"changed data":           {f.with("acme/data.json", `{"most": 4, "names": ["b", "a"]}`), p.key, "digest mismatch"},
		"changed manifest":       {f.with(".manifest", `{"revision":"2","roots":["acme"],"rego_version":1}`), p.key, "digest mismatch"},
		"extra policy":           {f.with("acme/more.rego", "package acme.more\n"), p.key, "acme/more.rego not included in bundle signature"},
		"extra file":             {f.with("acme/note.txt", "x"), p.key, "not included"},
		"missing file":           {without, p.key, "lacks files that were signed: README.md"},
		"no signature":           {good().with(".signatures.json", `{"signatures":[]}`), p.key, "0 signatures"},
		"two signatures":         {good().with(".signatures.json", `{"signatures":["a","b"]}`), p.key, "2 signatures"},
		"another verifier":       {good().with(".signatures.json", `{"signatures":["a"],"plugin":"mine"}`), p.key, `the verifier "mine"`},
		"signatures twice":       {good().with(".signatures.json", `{"signatures":["a"],"signatures":["b"]}`), p.key, "cannot be read"},
		"signatures of numbers":  {good().with(".signatures.json", `{"signatures":[1]}`), p.key, "cannot be read"},
		"no token":               {good().signatures("x"), p.key, "it is no token"},
		"no base64":              {good().signatures("!.a.b"), p.key, "cannot be read"},
		"no header":              {good().signatures("e30.e30.e30"), p.key, "has no alg"},
		"algorithm none":         {token(map[string]any{"alg": "none"}, all), p.key, `the algorithm "none"`},
		"key as a secret":        {good().signatures(confused), p.key, `the algorithm "HS256"`},
		"algorithm of other key": {token(map[string]any{"alg": "ES384", "kid": "k"}, all), p.key, `the algorithm "ES384"`},
		"MD5":                    {token(es, good().listed(t, bundle.MD5)), p.key, `hashed by "MD5"`},
		"SHA-1":                  {token(es, good().listed(t, bundle.SHA1)), p.key, `hashed by "SHA-1"`},
		"torn signature":         {good().signatures(strings.TrimSuffix(p.handmade(t, es, map[string]any{"files": all}), "A") + "AAAA"), p.key, "does not count"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, c.files.archive(t), c.key, "policy_bundle_signature", strings.TrimPrefix(c.want, "it "))
		})
	}
}

func TestBundleKeyRefusals(t *testing.T) {
	t.Parallel()
	p := ecPair(t, elliptic.P256(), "ES256")
	raw := p.signed(t, good()).archive(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this Go makes no short RSA key:", err)
	}
	p224 := ecPair(t, elliptic.P224(), "ES256")
	for name, c := range map[string]struct{ pem, want string }{
		"nothing":     {"", "not one PEM block"},
		"two keys":    {string(p.key.PEM) + string(p.key.PEM), "not one PEM block"},
		"private key": {p.pem, `is a "PRIVATE KEY"`},
		"certificate": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", `is a "CERTIFICATE"`},
		"garbage":     {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"},
		"garbage RSA": {"-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n", "cannot be read"},
		"short RSA":   {string(newPair(t, small, "RS256").key.PEM), "has 1024 bits"},
		"P-224":       {string(p224.key.PEM), "signs no bundles"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, raw, &BundleKey{Where: "k.pub", PEM: []byte(c.pem)}, "policy_bundle_key", c.want)
		})
	}
}

func TestBundleRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files      fileMap
		code, want string
		hint       string
	}{
		"root of another":   {good().with("other/p.rego", "package other\n"), "policy_bundle_invalid", "manifest roots", ""},
		"data of another":   {good().with("other/data.json", `{"a":1}`), "policy_bundle_invalid", "manifest roots", ""},
		"roots overlap":     {good().with(".manifest", `{"roots":["acme","acme/x"]}`), "policy_bundle_invalid", "overlapped roots", ""},
		"two manifests":     {good().with("acme/.manifest", `{"roots":["acme"]}`), "policy_bundle_invalid", "multiple manifest", ""},
		"torn manifest":     {good().with(".manifest", `{"roots"`), "policy_bundle_invalid", "manifest decode", ""},
		"says it is v0":     {good().with(".manifest", `{"roots":["acme"],"rego_version":0}`), "policy_bundle_invalid", "that it is in Rego v0", "--v0-v1"},
		"says notes are v0": {good().with(".manifest", `{"roots":["acme"],"file_rego_versions":{"/notes.rego":0}}`), "policy_bundle_invalid", `"/notes.rego"`, "--v0-v1"},
		"says file is v0":   {good().with(".manifest", `{"roots":["acme"],"file_rego_versions":{"/acme/p.rego":0}}`), "policy_bundle_invalid", "that it is in Rego v0", "--v0-v1"},
		"is v0":             {good().with("acme/p.rego", "package acme\n\ndeny[msg] { msg = \"no\" }\n"), "policy_bundle_invalid", "written in Rego v0", "--v0-v1"},
		"does not parse":    {good().with("acme/p.rego", "package acme\n\nx := \n"), "policy_error", "acme/p.rego:", ""},
		"wasm":              {good().with("policy.wasm", "\x00asm"), "policy_bundle_invalid", "compiled policy", ""},
		"other wasm":        {good().with("acme/x.wasm", "\x00asm"), "policy_bundle_invalid", "compiled policy", ""},
		"plan":              {good().with("plan.json", "{}"), "policy_bundle_invalid", "compiled plan", ""},
		"plan as protobuf":  {good().with("acme/plan.pb", "x"), "policy_bundle_invalid", "compiled plan", ""},
		"delta":             {fileMap{"patch.json": `{"data":[]}`}, "policy_bundle_invalid", "delta bundle", ""},
		"nested signature":  {good().with("acme/.signatures.json", "{}"), "policy_bundle_invalid", "not the bundle's", ""},
		"torn data":         {good().with("acme/data.json", "{"), "policy_bundle_invalid", "load failed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if hint := refused(t, c.files.archive(t), nil, c.code, c.want); !strings.Contains(hint, c.hint) {
				t.Errorf("hint %q", hint)
			}
		})
	}
	if _, err := Bundle(good().archive(t), nil, "b"); err != nil {
		t.Error("known by its digest:", err)
	}
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	file := tarEntry{name: "a.rego", body: bundlePolicy}
	gzOf := func(raw []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(raw)
		_ = z.Close()
		return b.Bytes()
	}
	plain := tarGz(t, file)
	many := make([]tarEntry, limits.PolicyBundleEntries+1)
	for i := range many {
		many[i] = tarEntry{name: fmt.Sprintf("%d.txt", i)}
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"no gzip":         {[]byte("hello"), "not compressed by gzip"},
		"no tar":          {gzOf(bytes.Repeat([]byte("x"), 2000)), "cannot be read"},
		"torn":            {plain[:len(plain)-10], "cannot be read"},
		"trailing bytes":  {append(slices.Clone(plain), "more"...), "cannot be read"},
		"another archive": {append(slices.Clone(plain), plain...), "behind its end"},
		"too large":       {make([]byte, limits.PolicyBundleBytes+1), "more than"},
		"bomb":            {gzOf(make([]byte, limits.PolicyBundleContent+1)), "unpacks to more than"},
		"bomb in a file":  {tarGz(t, tarEntry{name: "data.json", body: strings.Repeat(" ", limits.PolicyFile+1)}), "a file of more than"},
		"many files":      {tarGz(t, many...), "more than 10000 files"},
		"symbolic link":   {tarGz(t, file, tarEntry{name: "b.rego", link: "a.rego", kind: tar.TypeSymlink}), "is a link"},
		"hard link":       {tarGz(t, file, tarEntry{name: "b.rego", link: "a.rego", kind: tar.TypeLink}), "is a link"},
		"device":          {tarGz(t, tarEntry{name: "a.rego", kind: tar.TypeChar}), "neither a file"},
		"FIFO":            {tarGz(t, tarEntry{name: "a.rego", kind: tar.TypeFifo}), "neither a file"},
		"parent":          {tarGz(t, tarEntry{name: "../a.rego", body: "x"}), "leads out"},
		"parent inside":   {tarGz(t, tarEntry{name: "a/../../b.rego", body: "x"}), "leads out"},
		"parent itself":   {tarGz(t, tarEntry{name: "..", kind: tar.TypeDir}), "leads out"},
		"two slashes":     {tarGz(t, tarEntry{name: "//a.rego", body: "x"}), "leads out"},
		"dot inside":      {tarGz(t, tarEntry{name: "a/./b.rego", body: "x"}), "leads out"},
		"backslash":       {tarGz(t, tarEntry{name: `a\b.rego`, body: "x"}), "backslash"},
		"control":         {tarGz(t, tarEntry{name: "a\nb.rego", body: "x"}), "control"},
		"no UTF-8":        {tarGz(t, tarEntry{name: "a\xff.rego", body: "x"}), "UTF-8"},
		"long path":       {tarGz(t, tarEntry{name: strings.Repeat("a/", 600) + "b.rego", body: "x"}), "too long"},
		"deep path":       {tarGz(t, tarEntry{name: strings.Repeat("a/", 40) + "b.rego", body: "x"}), "too deep"},
		"twice":           {tarGz(t, file, file), "there twice"},
		"twice, in words": {tarGz(t, file, tarEntry{name: "./a.rego", body: "x"}), "there twice"},
		"file as a root":  {tarGz(t, file, tarEntry{name: "a.rego/b.rego", body: "x"}), "a file and a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, c.raw, nil, "policy_bundle_invalid", c.want)
		})
	}
	// What git archive and tar write.
	raw := tarGz(t, tarEntry{kind: tar.TypeXGlobalHeader, pax: map[string]string{"comment": "abc"}},
		tarEntry{name: "./", kind: tar.TypeDir}, tarEntry{name: "./a/", kind: tar.TypeDir}, tarEntry{name: "./a/p.rego", body: bundlePolicy},
		tarEntry{name: "./.manifest", body: "{}"})
	files, err := Bundle(raw, nil, "b")
	if err != nil || len(files) != 2 || files[0].Path != ".manifest" || files[1].Path != "a/p.rego" {
		t.Errorf("%v %v", files, err)
	}
}

// FuzzBundle: whatever comes is read or refused, within bounds, and what is read
// with a key is as it was signed.
func FuzzBundle(f *testing.F) {
	p := ecPair(f, elliptic.P256(), "ES256")
	signed := p.signed(f, good())
	for _, raw := range [][]byte{
		signed.archive(f), good().archive(f), nil, []byte("\x1f\x8b"),
		tarGz(f, tarEntry{name: "data.yaml", body: "a: &x [1]\nb: *x\n"}), tarGz(f, tarEntry{name: "x", link: "/etc", kind: tar.TypeSymlink}),
	} {
		f.Add(raw, "p.rego", []byte(bundlePolicy), []byte(`{"signatures":["e30.e30.e30"]}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte, name string, body, signatures []byte) {
		for _, key := range []*BundleKey{nil, p.key} {
			files, err := Bundle(raw, key, "b")
			if err == nil && key != nil && len(files) != len(signed) {
				t.Fatalf("%d files", len(files))
			}
			if e := (*protocol.Error)(nil); err != nil && !asProtocol(err, &e) {
				t.Fatalf("%v", err)
			}
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for n, data := range map[string][]byte{name: body, ".signatures.json": signatures} {
			if w.WriteHeader(&tar.Header{Name: n, Typeflag: tar.TypeReg, Size: int64(len(data))}) != nil {
				return
			}
			if _, err := w.Write(data); err != nil {
				return
			}
		}
		if w.Close() != nil || z.Close() != nil {
			return
		}
		if _, err := Bundle(b.Bytes(), p.key, "b"); err == nil {
			t.Fatal("something unsigned was taken")
		}
		if files, err := Bundle(b.Bytes(), nil, "b"); err == nil {
			for _, one := range files {
				if c, why := bundlePath(one.Path); why != "" || c != one.Path {
					t.Fatalf("%q", one.Path)
				}
			}
		}
	})
}

func asProtocol(err error, to **protocol.Error) bool { return errors.As(err, to) }
