package oci

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Reference{
		"ghcr.io/org/engine@" + someDigest:          {"ghcr.io", "org/engine", "", someDigest},
		"ghcr.io/org/engine:v1.2@" + someDigest:     {"ghcr.io", "org/engine", "v1.2", someDigest},
		"localhost/e@" + someDigest:                 {"localhost", "e", "", someDigest},
		"localhost:5000/e@" + someDigest:            {"localhost:5000", "e", "", someDigest},
		"127.0.0.1:5000/a/b/c__d-e.f@" + someDigest: {"127.0.0.1:5000", "a/b/c__d-e.f", "", someDigest},
		"[::1]:5000/e@" + someDigest:                {"[::1]:5000", "e", "", someDigest},
		"docker.io/library/alpine:3@" + someDigest:  {"docker.io", "library/alpine", "3", someDigest},
	} {
		got, err := Parse(in, false)
		if err != nil || got != want || got.String() != in {
			t.Errorf("%s: %#v, %v", in, got, err)
		}
	}
	got, err := Parse("ghcr.io/org/engine:v1", true)
	if err != nil || got.Tag() != "v1" || got.Digest() != "" || got.Registry() != "ghcr.io" || got.Repository() != "org/engine" {
		t.Errorf("%#v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	_, err := Parse("ghcr.io/org/engine:v1", false)
	wantError(t, err, protocol.ExitUsage, "oci_tag")
	_, err = Get(t.Context(), got(t, "ghcr.io/org/engine:v1"), Options{Cache: t.TempDir()})
	wantError(t, err, protocol.ExitUsage, "oci_tag")
	for _, in := range []string{
		"", "@", "/", "engine@" + someDigest, "org/engine@" + someDigest, "docker.io/alpine@" + someDigest,
		"https://ghcr.io/org/engine@" + someDigest, "ghcr.io/@" + someDigest, "ghcr.io/org/engine", "ghcr.io/org/engine@", "ghcr.io/org/engine:@" + someDigest,
		"ghcr.io/Org/engine@" + someDigest, "GHCR.io/org/engine@" + someDigest, "ghcr.io/org//engine@" + someDigest, "ghcr.io/../engine@" + someDigest,
		"ghcr.io/org/engine@" + strings.ToUpper(someDigest), "ghcr.io/org/engine@sha512:" + strings.Repeat("a", 128), "ghcr.io/org/engine@" + someDigest + "@" + someDigest,
		"ghcr.io/org/engine@" + someDigest + "\n", " ghcr.io/org/engine@" + someDigest, "ghcr.io/org/engine:a b@" + someDigest, "ghcr.io:0/org/engine@" + someDigest,
		"ghcr.io:99999/org/engine@" + someDigest, "ghcr.io:/org/engine@" + someDigest, "user@ghcr.io/org/engine@" + someDigest, "ghcr.io/org/engine?x@" + someDigest,
		"ghcr.io/org/engine%2f@" + someDigest, "ghcr..io/org/engine@" + someDigest, "-ghcr.io/org/engine@" + someDigest, "ghcr.io/" + strings.Repeat("a", 600) + "@" + someDigest,
		"ghcr.io/org/engine:" + strings.Repeat("t", 129) + "@" + someDigest, "ghcr.io/org/engine:v1:v2@" + someDigest, "gh\x00cr.io/org/engine@" + someDigest,
	} {
		r, err := Parse(in, true)
		wantError(t, err, protocol.ExitUsage, "oci_reference")
		if r != (Reference{}) {
			t.Errorf("%q gives %v all the same", in, r)
		}
	}
}

func got(t *testing.T, ref string) Reference {
	t.Helper()
	r, err := Parse(ref, true)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
