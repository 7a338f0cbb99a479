package signing_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/signingtest"
)

func TestIdentitiesThatPinTooLittle(t *testing.T) {
	t.Parallel()
	commit := strings.Repeat("1", 40)
	for name, c := range map[string]struct {
		change func(p *signing.IdentityPolicy)
		want   string
	}{
		"no issuer":           {func(p *signing.IdentityPolicy) { p.Issuer = "" }, "issuer"},
		"a bare issuer":       {func(p *signing.IdentityPolicy) { p.Issuer = "github" }, "issuer"},
		"no signer":           {func(p *signing.IdentityPolicy) { p.SAN = "" }, "either the whole SAN or"},
		"both":                {func(p *signing.IdentityPolicy) { p.SignerURI = "https://x/y" }, "either the whole SAN or"},
		"SAN without ref":     {func(p *signing.IdentityPolicy) { p.SAN = "https://github.com/a/b/.github/workflows/c.yml" }, "does not pin a ref"},
		"SAN with empty ref":  {func(p *signing.IdentityPolicy) { p.SAN = "https://github.com/a/b/.github/workflows/c.yml@" }, "does not pin a ref"},
		"URI without commits": {func(p *signing.IdentityPolicy) { p.SAN, p.SignerURI = "", "https://x/y" }, "pins no version"},
		"URI with ref": {func(p *signing.IdentityPolicy) {
			p.SAN, p.SignerURI, p.SignerDigests = "", "https://x/y@main", []string{commit}
		}, "none without a ref"},
		"a branch":       {func(p *signing.IdentityPolicy) { p.SignerDigests = []string{"main"} }, "not a full commit id"},
		"a short commit": {func(p *signing.IdentityPolicy) { p.SignerDigests = []string{commit[:12]} }, "not a full commit id"},
		"capitals":       {func(p *signing.IdentityPolicy) { p.SignerDigests = []string{strings.Repeat("A", 40)} }, "not a full commit id"},
		"no repository":  {func(p *signing.IdentityPolicy) { p.SourceRepositoryID = "" }, "needs the source repository id"},
		"no owner":       {func(p *signing.IdentityPolicy) { p.OwnerID = "" }, "needs the owner id"},
		"empty event":    {func(p *signing.IdentityPolicy) { p.Events = []string{""} }, "event"},
		"a line break":   {func(p *signing.IdentityPolicy) { p.SourceRef = "refs/heads/main\n" }, "does not print"},
		"a long value":   {func(p *signing.IdentityPolicy) { p.SourceRef = strings.Repeat("x", limits.CertificateFactBytes+1) }, "bytes"},
		"too many":       {func(p *signing.IdentityPolicy) { p.Events = make([]string, limits.IdentityValues+1) }, "more than"},
		"a person's job": {func(p *signing.IdentityPolicy) { p.SAN = "a@example.com" }, "identity of a person"},
	} {
		p := githubPolicy()
		c.change(&p)
		i, err := signing.NewIdentity(p)
		if err == nil {
			t.Errorf("%s: accepted as %s", name, i)
			continue
		}
		wantError(t, err, protocol.ExitUsage, signing.CodeIdentityPolicy, c.want)
	}
	i := identity(t, githubPolicy())
	if p := i.Policy(); p.OwnerID != "7" || !strings.Contains(i.String(), p.SAN) || (signing.Identity{}).String() != "no identity" {
		t.Errorf("%+v %s", p, i)
	}
}

func TestTrustedRoots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all := signingtest.Parts{CA: true, TSA: true, Log: true, CT: true}
	good := r.TrustedRoot(all)
	if root, err := signing.ParseTrustedRoot(good); err != nil || root.Digest() != protocol.Digest(good) {
		t.Fatal(err)
	}
	authority := func(d document, kind string) document { return d[kind].([]any)[0].(map[string]any) }
	chain := func(d document, kind string) []any {
		return authority(d, kind).in("certChain")["certificates"].([]any)
	}
	for name, change := range map[string]func(d document){
		"another media type": func(d document) { d["mediaType"] = "application/json" },
		"unknown member":     func(d document) { d["more"] = 1 },
		"nothing": func(d document) {
			clear(d)
			d["mediaType"] = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
		},
		"no start":             func(d document) { delete(authority(d, "certificateAuthorities"), "validFor") },
		"no start of a TSA":    func(d document) { delete(authority(d, "timestampAuthorities"), "validFor") },
		"no start of a log":    func(d document) { delete(authority(d, "tlogs").in("publicKey"), "validFor") },
		"ends before it start": func(d document) { authority(d, "tlogs").in("publicKey", "validFor")["end"] = "1999-01-01T00:00:00Z" },
		"ends early": func(d document) {
			authority(d, "certificateAuthorities").in("validFor")["end"] = "1999-01-01T00:00:00Z"
		},
		"no chain": func(d document) { authority(d, "certificateAuthorities").in("certChain")["certificates"] = []any{} },
		"no root": func(d document) {
			authority(d, "certificateAuthorities").in("certChain")["certificates"] = chain(d, "certificateAuthorities")[:1]
		},
		"a chain in disorder": func(d document) {
			c := chain(d, "certificateAuthorities")
			c[0], c[1] = c[1], c[0]
		},
		"another's root": func(d document) { chain(d, "certificateAuthorities")[1] = chain(d, "timestampAuthorities")[1] },
		"a leaf as authority": func(d document) {
			authority(d, "certificateAuthorities").in("certChain")["certificates"] = chain(d, "timestampAuthorities")
		},
		"no certificate": func(d document) { chain(d, "timestampAuthorities")[0] = map[string]any{"rawBytes": "AAAA"} },
		"a log twice":    func(d document) { d["tlogs"] = append(d["tlogs"].([]any), d["tlogs"].([]any)...) },
		"too many": func(d document) {
			for len(d["timestampAuthorities"].([]any)) <= limits.TrustedRootEntries {
				d["timestampAuthorities"] = append(d["timestampAuthorities"].([]any), d["timestampAuthorities"].([]any)[0])
			}
		},
		"no log key": func(d document) { delete(authority(d, "tlogs"), "publicKey") },
		"no log id":  func(d document) { delete(authority(d, "ctlogs"), "logId") },
	} {
		d := open(t, good)
		change(d)
		if _, err := signing.ParseTrustedRoot(d.canonical(t)); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantError(t, err, protocol.ExitUsage, signing.CodeTrustedRootMalformed)
		}
	}
	for name, data := range map[string][]byte{
		"empty": nil, "not JSON": []byte("x"), "a member twice": bytes.Replace(good, []byte(`{`), []byte(`{"mediaType":"x",`), 1),
		"too long": append(bytes.Clone(good), bytes.Repeat([]byte{' '}, limits.TrustedRootBytes)...), "trailing": append(bytes.Clone(good), '{'),
	} {
		if _, err := signing.ParseTrustedRoot(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.logged(t).canonical(t)
	same := func(name string, foreign []byte) {
		t.Helper()
		got, err := signing.Normalize(foreign)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got, good) {
			t.Errorf("%s became\n%s, not\n%s", name, got, good)
		}
	}
	same("our own form", good)
	var indented bytes.Buffer
	if err := json.Indent(&indented, good, "", "  "); err != nil {
		t.Fatal(err)
	}
	same("with spaces", indented.Bytes())
	d := open(t, good)
	d["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3"
	d.in("dsseEnvelope")["signatures"].([]any)[0].(map[string]any)["keyid"] = "a key"
	entry := document(d.in("verificationMaterial")["tlogEntries"].([]any)[0].(map[string]any))
	entry["logIndex"], entry["integratedTime"], entry["inclusionPromise"] = "0", 0, nil
	entry.in("inclusionProof")["hashes"] = []any{}
	same("as other tools write it", d.canonical(t))

	for name, change := range map[string]func(d document){
		"an older version": func(d document) { d["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2" },
		"no material":      func(d document) { delete(d, "verificationMaterial") },
		"a bare signature": func(d document) { delete(d, "dsseEnvelope") },
		"two signatures": func(d document) {
			e := d.in("dsseEnvelope")
			e["signatures"] = append(e["signatures"].([]any), e["signatures"].([]any)...)
		},
		"an unknown member":  func(d document) { d["more"] = true },
		"another payload":    func(d document) { d.in("dsseEnvelope")["payloadType"] = "text/plain" },
		"a chain":            func(d document) { d["verificationMaterial"] = map[string]any{"x509CertificateChain": map[string]any{}} },
		"an empty signature": func(d document) { d.in("dsseEnvelope")["signatures"] = []any{map[string]any{"sig": ""}} },
		"not granted":        func(d document) { d.stamp([]byte{0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02}) },
	} {
		d := open(t, good)
		change(d)
		if out, err := signing.Normalize(d.canonical(t)); err == nil {
			t.Errorf("%s became\n%s", name, out)
		} else {
			wantError(t, err, protocol.ExitIntegrity, signing.CodeBundleMalformed)
		}
	}
	if _, err := signing.Normalize(bytes.Repeat([]byte{' '}, limits.BundleBytes+1)); err == nil {
		t.Error("a huge file is read")
	}
}
