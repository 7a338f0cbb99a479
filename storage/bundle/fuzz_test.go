package bundle

import (
	"encoding/json"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// FuzzUnpack reads anything as an archive: as it is, and as the tar in a right frame.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, dirEntry("a"), plainEntry("a/b", "x")))
	f.Add(compress(f, tarOf(f, plainEntry("a", "x"))))
	for name, raw := range hostileTars(f) {
		if len(raw) < 10_000 && name != "" {
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, archive := range [][]byte{data, compress(t, data)} {
			into, p, err := unpack(t.Context(), t, archive)
			if err != nil {
				continue
			}
			again, q := packed(t, into, PackOptions{PlainState: true})
			if q.Files != p.Files {
				t.Errorf("%d files, then %d", p.Files, q.Files)
			}
			if _, _, err := unpack(t.Context(), t, again); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	good, err := json.Marshal(newManifest(ArtifactType, descriptor{MediaType: MediaType, Digest: protocol.Digest(nil), Size: 1}, map[string]string{"a": "b"}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schemaVersion":2,"layers":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if d, err := parseManifest(raw); err == nil && (d.Size <= 0 || d.MediaType != MediaType) {
			t.Errorf("%+v", d)
		}
	})
}

func FuzzSealed(f *testing.F) {
	f.Add([]byte(`{"files":[{"digest":"` + protocol.Digest(nil) + `","mode":"0644","path":"steps/a/artifacts/b/c","size":1}],"version":"1"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		files, err := parseSealed(raw)
		for _, s := range files {
			if err == nil && checkPath(s.Path) != nil {
				t.Errorf("%+v", s)
			}
		}
	})
}

func FuzzRef(f *testing.F) {
	f.Add("dir:/a@" + protocol.Digest(nil))
	f.Add("oci:localhost:5000/a/b:t@" + protocol.Digest(nil))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRef(text)
		if err == nil && r.String() != text {
			t.Errorf("%q reads as %q", text, r.String())
		}
	})
}
