package oci

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func TestGetRefusesManifests(t *testing.T) {
	t.Parallel()
	archive := tarOf(t, fileE("f", "x"))
	set := func(key string, value any) func(*spec) { return func(s *spec) { s.manifest[key] = value } }
	layer := func(key string, value any) func(*spec) { return func(s *spec) { s.layers[0][key] = value } }
	config := func(key string, value any) func(*spec) { return func(s *spec) { s.config[key] = value } }
	run := func(key string, value any) func(*spec) {
		return func(s *spec) { s.config["config"] = object{key: value} }
	}
	for name, c := range map[string]struct {
		exit int
		code string
		bend func(*spec)
	}{
		"schema 1":                      {5, "oci_media_type", set("schemaVersion", 1)},
		"an unknown media type":         {5, "oci_media_type", set("mediaType", "application/json")},
		"no config":                     {5, "oci_manifest", func(s *spec) { s.manifest["config"] = json.RawMessage("null") }},
		"no layers":                     {5, "oci_limit", set("layers", []object{})},
		"an index as well":              {5, "oci_manifest", set("manifests", []object{})},
		"a negative size":               {5, "oci_manifest", layer("size", -1)},
		"a digest of another kind":      {5, "oci_manifest", layer("digest", "sha512:"+strings.Repeat("a", 128))},
		"a digest that is a path":       {5, "oci_manifest", layer("digest", "sha256:../../../../etc/passwd")},
		"an upper-case digest":          {5, "oci_manifest", layer("digest", "sha256:"+strings.Repeat("A", 64))},
		"bytes from elsewhere":          {5, "oci_media_type", layer("urls", []string{"https://example.com/layer"})},
		"a foreign layer":               {5, "oci_media_type", layer("mediaType", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")},
		"a layer not to be distributed": {5, "oci_media_type", layer("mediaType", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")},
		"an encrypted layer":            {5, "oci_media_type", layer("mediaType", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted")},
		"a wrong size":                  {5, "oci_digest", layer("size", 5)},
		"a huge layer":                  {5, "oci_limit", layer("size", int64(1)<<50)},
		"a layer twice with two sizes": {5, "oci_manifest", func(s *spec) {
			s.layers = append(s.layers, object{"mediaType": s.layers[0]["mediaType"], "digest": s.layers[0]["digest"], "size": 1})
			s.diffIDs = append(s.diffIDs, s.diffIDs[0])
		}},
		"too many diff_ids":              {5, "oci_manifest", func(s *spec) { s.diffIDs = append(s.diffIDs, s.diffIDs[0]) }},
		"a malformed diff_id":            {5, "oci_manifest", func(s *spec) { s.diffIDs[0] = "x" }},
		"no diff_ids":                    {5, "oci_manifest", config("rootfs", object{})},
		"too many layers":                {5, "oci_limit", func(s *spec) { s.layers = slices.Repeat(s.layers, 300) }},
		"another architecture":           {2, "oci_platform", config("architecture", "mips")},
		"another system":                 {2, "oci_platform", config("os", "windows")},
		"an environment that is none":    {5, "oci_manifest", run("Env", []string{"nothing"})},
		"an environment with a NUL":      {5, "oci_manifest", run("Env", []string{"A=\x00"})},
		"a directory with a NUL":         {5, "oci_manifest", run("WorkingDir", "/\x00")},
		"an entrypoint that is a string": {5, "oci_manifest", run("Entrypoint", "/bin/sh")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			d := f.image(t, c.bend, archive)
			_, err := Get(t.Context(), f.ref(t, d.Digest), options(t))
			wantError(t, err, c.exit, c.code)
		})
	}
	for name, raw := range map[string]string{
		"no JSON":             `{`,
		"bytes behind":        `{} {}`,
		"a member twice":      `{"schemaVersion":2,"schemaVersion":2}`,
		"a member's case":     `{"SchemaVersion":2,"mediaType":"` + typeManifest + `"}`,
		"nothing":             `{}`,
		"a list":              `[]`,
		"a Docker manifest":   `{"schemaVersion":2,"config":{},"layers":[]}`,
		"deep":                strings.Repeat(`[`, 1000),
		"an index and layers": `{"schemaVersion":2,"mediaType":"` + typeIndex + `","manifests":[],"layers":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			kind := ""
			if name == "a Docker manifest" {
				kind = typeDockerManifest
			}
			d := f.manifest([]byte(raw), kind)
			_, err := Get(t.Context(), f.ref(t, d.Digest), options(t))
			if protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestWrongDiffID: the compressed bytes are right, what they unpack to is not.
func TestWrongDiffID(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := options(t)
	d := f.image(t, func(s *spec) { s.diffIDs[0] = protocol.Digest(nil) }, tarOf(t, fileE("f", "x")))
	i, err := Get(t.Context(), f.ref(t, d.Digest), o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	wantError(t, Unpack(t.Context(), i, o, dir), protocol.ExitIntegrity, "oci_digest")
	if got := listing(t, dir); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}

// TestLayerIsNotWhatItsTypeSays: gzip called tar, tar called gzip or zstd, cut and continued gzip.
func TestLayerIsNotWhatItsTypeSays(t *testing.T) {
	t.Parallel()
	archive := tarOf(t, fileE("f", strings.Repeat("x", 1000)))
	packed := gz(t, archive)
	for name, c := range map[string]struct {
		kind string
		raw  []byte
		code string
	}{
		"gzip called tar":  {"application/vnd.oci.image.layer.v1.tar", packed, "oci_layer"},
		"tar called gzip":  {"application/vnd.oci.image.layer.v1.tar+gzip", archive, "oci_layer"},
		"tar called zstd":  {"application/vnd.oci.image.layer.v1.tar+zstd", archive, "oci_layer"},
		"gzip, cut":        {"application/vnd.oci.image.layer.v1.tar+gzip", packed[:len(packed)-9], "oci_layer"},
		"gzip and more":    {"application/vnd.oci.image.layer.v1.tar+gzip", append(slices.Clone(packed), "more"...), "oci_layer"},
		"gzip, wrong sum":  {"application/vnd.oci.image.layer.v1.tar+gzip", append(slices.Clone(packed[:len(packed)-8]), make([]byte, 8)...), "oci_layer"},
		"zstd, huge frame": {"application/vnd.oci.image.layer.v1.tar+zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00}, "oci_layer"},
		"nothing as gzip":  {"application/vnd.oci.image.layer.v1.tar+gzip", nil, "oci_layer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			o := options(t)
			d := f.image(t, func(s *spec) {
				s.layers = []object{desc(f.blob(c.raw), c.kind)}
				s.diffIDs = []string{protocol.Digest(archive)}
			})
			i, err := Get(t.Context(), f.ref(t, d.Digest), o)
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, Unpack(t.Context(), i, o, t.TempDir()), protocol.ExitIntegrity, c.code)
		})
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	entry := func(system, architecture, variant string) object {
		d := f.image(t, func(s *spec) {
			s.config["os"], s.config["architecture"], s.config["variant"] = system, architecture, variant
		},
			tarOf(t, fileE("f", system+architecture+variant)))
		o := desc(d, typeManifest)
		if system != "" {
			o["platform"] = object{"os": system, "architecture": architecture, "variant": variant}
		}
		return o
	}
	index := func(entries ...object) descriptor {
		return f.manifest(object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": entries}, typeIndex)
	}
	v3, plain, v8, v7, none := entry("linux", "amd64", "v3"), entry("linux", "amd64", ""), entry("linux", "arm64", "v8"), entry("linux", "arm", "v7"), entry("", "", "")
	attested := desc(f.manifest(object{"x": 1}, typeManifest), typeManifest)
	attested["platform"] = object{"os": "unknown", "architecture": "unknown"}
	all := index(attested, v3, plain, v8, v7)
	liar := entry("linux", "s390x", "")
	liar["platform"] = object{"os": "linux", "architecture": "amd64"}
	wrongType := desc(f.manifest(object{"schemaVersion": 2, "mediaType": typeDockerManifest}, typeDockerManifest), typeManifest)
	wrongType["platform"] = object{"os": "linux", "architecture": "amd64"}
	var nest func(d descriptor, n int) descriptor
	nest = func(d descriptor, n int) descriptor {
		if n == 0 {
			return d
		}
		return nest(index(desc(d, typeIndex)), n-1)
	}
	for name, c := range map[string]struct {
		from     descriptor
		platform string
		want     object
		exit     int
		code     string
	}{
		"without a variant":       {all, "linux/amd64", plain, 0, ""},
		"with a variant":          {all, "linux/amd64/v3", v3, 0, ""},
		"arm64 means v8":          {all, "linux/arm64", v8, 0, ""},
		"arm":                     {all, "linux/arm", v7, 0, ""},
		"arm v6":                  {all, "linux/arm/v6", nil, 2, "oci_platform"},
		"not there":               {all, "linux/riscv64", nil, 2, "oci_platform"},
		"in a nested index":       {nest(all, 2), "linux/amd64", plain, 0, ""},
		"too deep":                {nest(all, 6), "linux/amd64", nil, 5, "oci_limit"},
		"one without a platform":  {index(none), "linux/amd64", none, 0, ""},
		"two without a platform":  {index(none, none), "linux/amd64", nil, 2, "oci_platform"},
		"an index that lies":      {index(liar), "linux/amd64", nil, 2, "oci_platform"},
		"another type than said":  {index(wrongType), "linux/amd64", nil, 5, "oci_manifest"},
		"an empty index":          {index(), "linux/amd64", nil, 2, "oci_platform"},
		"no platform":             {all, "linux", nil, 2, "oci_platform"},
		"a platform with a hole":  {all, "linux//v8", nil, 2, "oci_platform"},
		"more than we read":       {index(slices.Repeat([]object{plain}, 70)...), "linux/amd64", nil, 5, "oci_limit"},
		"the manifest by itself":  {descriptor{Digest: plain["digest"].(string)}, "linux/amd64", plain, 0, ""},
		"a wrong one of its kind": {descriptor{Digest: v8["digest"].(string)}, "linux/amd64", nil, 2, "oci_platform"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Platform = c.platform
			i, err := Get(t.Context(), f.ref(t, c.from.Digest), o)
			if c.want == nil {
				wantError(t, err, c.exit, c.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if i.Manifest != c.want["digest"] || i.Digest != c.from.Digest {
				t.Errorf("chose %s", i.Manifest)
			}
		})
	}
}

func TestArgv(t *testing.T) {
	t.Parallel()
	image := Config{Entrypoint: []string{"/e"}, Cmd: []string{"a", "b"}}
	one := []Layer{{Title: "bin/engine"}}
	for name, c := range map[string]struct {
		image    Image
		override []string
		want     []string
	}{
		"both":               {Image{Config: image}, nil, []string{"/e", "a", "b"}},
		"override":           {Image{Config: image}, []string{"x"}, []string{"x"}},
		"command alone":      {Image{Config: Config{Cmd: []string{"c"}}}, nil, []string{"c"}},
		"nothing":            {Image{}, nil, nil},
		"an empty name":      {Image{Config: Config{Cmd: []string{""}}}, nil, nil},
		"a NUL":              {Image{}, []string{"a\x00b"}, nil},
		"one file":           {Image{Artifact: true, Layers: one}, nil, []string{"/bin/engine"}},
		"two files":          {Image{Artifact: true, Layers: append(slices.Clone(one), one...)}, nil, nil},
		"two files, command": {Image{Artifact: true, Layers: append(slices.Clone(one), one...)}, []string{"/y"}, []string{"/y"}},
	} {
		got, err := c.image.Argv(c.override)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// artifact stores files as oras push does.
func (f *fake) artifact(files ...[2]string) descriptor {
	var layers []object
	for _, one := range files {
		l := desc(f.blob([]byte(one[1])), "application/octet-stream")
		l["annotations"] = map[string]string{titleKey: one[0]}
		layers = append(layers, l)
	}
	return f.manifest(object{
		"schemaVersion": 2, "mediaType": typeManifest, "artifactType": "application/vnd.example.engine",
		"config": desc(f.blob([]byte("{}")), "application/vnd.oci.empty.v1+json"), "layers": layers,
	}, typeManifest)
}

func TestArtifact(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := options(t)
	i, err := Get(t.Context(), f.ref(t, f.artifact([2]string{"engine", "#!/bin/sh\n"}, [2]string{"share/data", "x"}).Digest), o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Unpack(t.Context(), i, o, dir); err != nil {
		t.Fatal(err)
	}
	got := listing(t, dir)
	if len(got) != 3 || !strings.HasSuffix(got["engine"], " 0 #!/bin/sh\n") || !strings.HasSuffix(got["share/data"], " 0 x") {
		t.Errorf("unpacked %q", got)
	}
	if runtime.GOOS == "linux" && !strings.HasPrefix(got["engine"], "-rwxr-xr-x") {
		t.Errorf("it cannot be run: %q", got["engine"])
	}
	for name, c := range map[string]struct {
		files [][2]string
		code  string
	}{
		"upwards":           {[][2]string{{"../engine", "x"}}, "oci_name"},
		"the root":          {[][2]string{{"/", "x"}}, "oci_name"},
		"no name":           {[][2]string{{"", "x"}}, "oci_name"},
		"twice":             {[][2]string{{"a", "x"}, {"./a", "y"}}, "oci_name"},
		"a file and below":  {[][2]string{{"a", "x"}, {"a/b", "y"}}, "oci_name"},
		"below and a file":  {[][2]string{{"a/b", "y"}, {"a", "x"}}, "oci_name"},
		"too deep":          {[][2]string{{strings.Repeat("a/", 70) + "b", "y"}}, "oci_name"},
		"more than allowed": {[][2]string{{"a", strings.Repeat("x", 100)}}, "oci_limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Limits.UnpackedBytes = 50
			i, err := Get(t.Context(), f.ref(t, f.artifact(c.files...).Digest), o)
			dir := t.TempDir()
			if err == nil {
				err = Unpack(t.Context(), i, o, dir)
			}
			wantError(t, err, protocol.ExitIntegrity, c.code)
			if got := listing(t, dir); len(got) > 0 {
				t.Errorf("left behind: %q", got)
			}
		})
	}
	d := f.manifest(object{
		"schemaVersion": 2, "config": desc(f.blob([]byte("{}")), "application/vnd.oci.empty.v1+json"),
		"layers": []object{desc(f.blob([]byte("x")), "text/plain")},
	}, typeManifest)
	_, err = Get(t.Context(), f.ref(t, d.Digest), options(t))
	wantError(t, err, protocol.ExitIntegrity, "oci_manifest")
}

func TestVerify(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	d := f.image(t, nil, tarOf(t, fileE("f", "x")))
	signature := f.manifest(object{"schemaVersion": 2}, typeManifest)
	f.things["manifests/sha256-"+strings.TrimPrefix(d.Digest, "sha256:")+".sig"] = f.things["manifests/"+signature.Digest]
	o := options(t)
	var asked string
	o.Verify = func(ctx context.Context, digest string, manifest []byte, from Source) error {
		raw, _, err := from.Manifest(ctx, "sha256-"+strings.TrimPrefix(digest, "sha256:")+".sig")
		if err != nil || protocol.Digest(raw) != signature.Digest {
			t.Errorf("the signature is out of reach: %v", err)
		}
		asked = protocol.Digest(manifest)
		return errors.New("signed by nobody")
	}
	_, err := Get(t.Context(), f.ref(t, d.Digest), o)
	wantError(t, err, protocol.ExitIntegrity, "oci_signature")
	if asked != d.Digest {
		t.Errorf("judged %s", asked)
	}
	for _, p := range f.requests() {
		if strings.HasPrefix(p, "blobs/") {
			t.Errorf("%s was fetched before the judgement", p)
		}
	}
	o.Verify = func(context.Context, string, []byte, Source) error {
		return protocol.Errorf(protocol.ExitDenied, "mine", "no")
	}
	_, err = Get(t.Context(), f.ref(t, d.Digest), o)
	wantError(t, err, protocol.ExitDenied, "mine")
	o.Verify = func(context.Context, string, []byte, Source) error { return nil }
	if _, err = Get(t.Context(), f.ref(t, d.Digest), o); err != nil {
		t.Error(err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	d := f.image(t, nil, tarOf(t, fileE("1", "x")), tarOf(t, fileE("2", "y")), tarOf(t, fileE("1", "x")))
	o := options(t)
	var mu sync.Mutex
	var seen []int64
	var total int64
	o.Progress = func(done, all int64) {
		mu.Lock()
		defer mu.Unlock()
		seen, total = append(seen, done), all
	}
	if _, err := Get(t.Context(), f.ref(t, d.Digest), o); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || !slices.IsSorted(seen) || seen[1] != total {
		t.Errorf("progress %v of %d", seen, total)
	}
}
