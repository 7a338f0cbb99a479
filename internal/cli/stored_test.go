package cli

import (
	"bytes"
	"context"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	agecrypt "filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/storage/bundle"
)

// signedDesk is a desk whose plans are signed.
func signedDesk(t *testing.T, more string) *desk {
	t.Helper()
	private, public, err := signing.Generate(signing.Ed25519, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newDesk(t, map[string]string{
		".cabincrew.yaml": strings.Replace(deskConfig, "approvals:", "signing: {key: plan.key}\n"+more+"approvals:", 1), "plan.key": string(private), "plan.key.pub": string(public),
	})
}

// another is the same workspace on another machine: without state, without marks.
func (d *desk) another() *desk {
	d.t.Helper()
	b := &desk{t: d.t, dir: filepath.Join(d.t.TempDir(), "ws"), env: d.env}
	if err := os.CopyFS(b.dir, os.DirFS(d.dir)); err != nil {
		d.t.Fatal(err)
	}
	if err := os.RemoveAll(b.path(".cabincrew")); err != nil {
		d.t.Fatal(err)
	}
	return b
}

// TestFlightTravels plans and approves here and takes off on another machine.
func TestFlightTravels(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for kind, dest := range map[string]string{"dir": "dir:" + filepath.Join(t.TempDir(), "flights"), "oci": "oci:" + host + "/team/flights:change-1"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := signedDesk(t, "")
			id := d.plan(4)
			var p pushed
			d.json(0, &p, "push", id, dest)
			if p.WorkflowID != id || !strings.Contains(p.Ref, "@sha256:") || strings.Contains(p.Ref, "change-1") || p.Files < 10 {
				t.Errorf("%+v", p)
			}
			if kind == "oci" {
				at, err := name.NewDigest(strings.TrimPrefix(p.Ref, "oci:"), name.Insecure)
				if err != nil {
					t.Fatal(err)
				}
				list, err := remote.Referrers(at)
				if err != nil {
					t.Fatal(err)
				}
				if index, err := list.IndexManifest(); err != nil || len(index.Manifests) != 1 {
					t.Errorf("%+v %v", index, err)
				}
				d.must(0, []string{dest + " is " + p.Ref}, "verify", dest)
			}
			d.must(0, nil, "verify", p.Ref)
			b := d.another()
			var got pulled
			b.json(0, &got, "pull", p.Ref)
			if got.WorkflowID != id || got.Ref != p.Ref || got.Digest != p.Digest || len(got.Encrypted) > 0 || got.Files != p.Files {
				t.Errorf("%+v", got)
			}
			b.must(0, []string{id}, "pull", p.Ref) // again: it is there already
			b.must(0, nil, "approve", id, "--as", "boss", "--key", d.path("../boss"), "--reason", "looks good")
			b.must(0, nil, "take-off", id)
			if text := read(t, b.path("notes.txt")); !strings.HasPrefix(text, "new\n") {
				t.Errorf("%q", text)
			}
		})
	}
}

// TestArchiveIsReadOnly reads a flight where it is and changes nothing.
func TestArchiveIsReadOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.plan(4)
	archive := filepath.Join(t.TempDir(), "f.tar.zst")
	d.must(0, []string{archive}, "export", id, "--out", archive)
	d.must(2, nil, "export", id, "--out", archive) // nothing is overwritten
	b := d.another()
	b.must(0, nil, "verify", archive)
	b.must(0, []string{"evil"}, "show", archive)
	b.must(0, nil, "audit", "verify", archive)
	b.must(0, nil, "diff", archive, archive)
	b.must(4, nil, "status", archive)
	for _, words := range [][]string{{"take-off"}, {"cancel"}, {"approve", "--as", "boss", "--key", d.path("../boss"), "--reason", "x"}} {
		b.must(2, []string{"flight_stored"}, append(words, archive)...)
	}
	if left, err := os.ReadDir(b.path(".cabincrew/flights")); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	if left, err := os.ReadDir(b.path(".cabincrew/tmp")); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	data := read(t, archive)
	changed := filepath.Join(t.TempDir(), "changed.tar.zst")
	if err := os.WriteFile(changed, []byte(data[:len(data)-5]+"x"+data[len(data)-4:]), 0o600); err != nil {
		t.Fatal(err)
	}
	b.must(5, []string{"archive_malformed"}, "verify", changed)
	b.must(5, []string{"archive_malformed"}, "pull", changed)
	// The missing denies.
	b.must(7, []string{"storage_missing"}, "pull", "dir:"+t.TempDir()+"@sha256:"+strings.Repeat("0", 64))
	b.must(2, []string{"storage_ref"}, "pull", id)
	b.must(2, []string{"storage_ref"}, "push", archive)
	as := filepath.Join(t.TempDir(), "out")
	b.must(0, []string{as}, "pull", archive, "--as-dir", as)
	b.must(0, nil, "verify", as)
	b.must(2, nil, "pull", archive, "--as-dir", as)
}

// TestPulledFlightFliesOnce takes off, loses the directory, and brings the flight back
// as it was before.
func TestPulledFlightFliesOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.plan(4)
	d.must(0, nil, "approve", id, "--as", "boss", "--key", d.path("../boss"), "--reason", "looks good")
	var p pushed
	d.json(0, &p, "push", id, "dir:"+t.TempDir())
	d.must(0, nil, "take-off", id)
	// The one that took off is another flight than the stored one.
	d.must(2, []string{"flight_exists"}, "pull", p.Ref)
	if err := os.RemoveAll(d.path(".cabincrew/flights/" + id)); err != nil {
		t.Fatal(err)
	}
	d.must(0, nil, "pull", p.Ref)
	if code, _, errs := d.run("take-off", id); code != 5 || !strings.Contains(errs, "flight_ended") && !strings.Contains(errs, "takeoff_replayed") {
		t.Errorf("exit %d\n%s", code, errs)
	}
	d.must(5, nil, "take-off", "--state-dir", filepath.Join(t.TempDir(), "x"), d.path(".cabincrew/flights/"+id))
}

const stateEngine = `set -eu
dir=$CABINCREW_ARTIFACTS_DIR
mkdir "$dir/saved" "$dir/said"
printf 'STATE-SECRET' >"$dir/saved/saved.bin"
printf '{"artifact_type":"saved","action":"apply","mime":"application/octet-stream","body_file":"saved.bin"}' >"$dir/saved/artifact.json"
printf 'what it is' >"$dir/said/said.txt"
printf '{"artifact_type":"summary","action":"inform","mime":"text/plain","body_file":"said.txt"}' >"$dir/said/artifact.json"
h() { sha256sum <"$1" | cut -d' ' -f1; }
printf '{"protocol_version":"draft","engine_id":"stater","mode":"flight-plan","receipt_id":"r","status":"success","artifacts":[{"name":"saved","role":"state","path":"saved","hash":"%s"},{"name":"said","role":"evidence","path":"said","hash":"%s"}]}\n' "$(h "$dir/saved/saved.bin")" "$(h "$dir/said/said.txt")"
`

// TestStateLeavesEncrypted stores a flight whose engine left a state.
func TestStateLeavesEncrypted(t *testing.T) {
	t.Parallel()
	id, err := agecrypt.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys.txt")
	if err := os.WriteFile(keys, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(deskConfig, "engine: {use: command, with: {run: [sh, edit.sh]}}", "engine: {run: [sh, stater.sh]}", 1)
	d := newDesk(t, map[string]string{".cabincrew.yaml": config, "stater.sh": stateEngine})
	flight := d.plan(4)
	place := t.TempDir()
	d.must(2, []string{"state_unencrypted"}, "push", flight, "dir:"+place)
	if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	var p pushed
	d.json(0, &p, "push", flight, "dir:"+place, "--encrypt-to", id.Recipient().String())
	body := "steps/edit/artifacts/saved/saved.bin"
	described := "steps/edit/artifacts/saved/artifact.json"
	if !slices.Equal(p.Encrypted, []string{described, body}) {
		t.Fatalf("%+v", p)
	}
	b := d.another()
	var got pulled
	b.json(0, &got, "pull", p.Ref)
	if !slices.Equal(got.Encrypted, []string{described, body}) {
		t.Fatalf("%+v", got)
	}
	if _, err := os.Stat(b.flightFile(flight, body)); err == nil || strings.Contains(read(t, b.flightFile(flight, body)+".age"), "STATE-SECRET") {
		t.Error("the state is readable")
	}
	b.must(2, []string{"storage_identity"}, "pull", p.Ref, "--age-identity", b.path("notes.txt"))
	b.json(0, &got, "pull", p.Ref, "--age-identity", keys)
	if len(got.Encrypted) != 0 || read(t, b.flightFile(flight, body)) != "STATE-SECRET" {
		t.Errorf("%+v", got)
	}
	b.must(0, nil, "verify", flight)
	b.json(0, &got, "pull", p.Ref) // what is decrypted stays so
	if len(got.Encrypted) != 0 || read(t, b.flightFile(flight, body)) != "STATE-SECRET" {
		t.Errorf("%+v", got)
	}
	b.env = append(b.env, "CABINCREW_AGE_IDENTITY="+keys)
	b.must(0, nil, "verify", p.Ref)
	// What is spelled out passes.
	d.json(0, &p, "push", flight, "dir:"+place, "--plain-state")
	b.must(0, nil, "verify", p.Ref)
}

// TestStorageOfTheConfiguration puts a flight where the configuration says, and what
// is stored in the workspace is no part of it.
func TestStorageOfTheConfiguration(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.change(d.path(".cabincrew.yaml"), "retention:", "storage: {flights: 'dir:stored', encrypt_to: []}\nretention:")
	id := d.plan(4)
	var p pushed
	d.json(0, &p, "push", id)
	if !strings.HasPrefix(p.Ref, "dir:"+d.path("stored")+"@sha256:") {
		t.Errorf("%+v", p)
	}
	d.must(4, nil, "status", id)
	d.must(0, nil, "approve", id, "--as", "boss", "--key", d.path("../boss"), "--reason", "looks good")
	d.must(0, nil, "take-off", id) // nothing is stale
	e := newDesk(t, nil)
	e.plan(4)
	e.must(2, []string{"storage_ref"}, "push")
}

// TestDecryptingIsWholeOrNot decrypts an installed flight of which something cannot be
// decrypted or that is interrupted, and then again.
func TestDecryptingIsWholeOrNot(t *testing.T) {
	t.Parallel()
	id, err := agecrypt.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys.txt")
	if err := os.WriteFile(keys, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(deskConfig, "engine: {use: command, with: {run: [sh, edit.sh]}}", "engine: {run: [sh, stater.sh]}", 1)
	d := newDesk(t, map[string]string{".cabincrew.yaml": config, "stater.sh": stateEngine})
	flight := d.plan(4)
	archive := filepath.Join(t.TempDir(), "f.tar.zst")
	d.must(0, nil, "export", flight, "--out", archive, "--encrypt-to", id.Recipient().String())

	b := d.another()
	b.must(0, nil, "pull", archive)
	before := tree(t, b.flightFile(flight, ""))
	// The second file of the two is of nobody.
	second := b.flightFile(flight, "steps/edit/artifacts/saved/saved.bin.age")
	good := read(t, second)
	write := func(text string) {
		if err := os.WriteFile(second, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(good[:len(good)-1] + string(good[len(good)-1]^1))
	tampered := filepath.Join(t.TempDir(), "tampered.tar.zst")
	b.must(0, nil, "export", flight, "--out", tampered)
	same := tree(t, b.flightFile(flight, ""))
	b.must(5, []string{"state_undecryptable"}, "pull", tampered, "--age-identity", keys)
	if diff := cmp.Diff(same, tree(t, b.flightFile(flight, ""))); diff != "" {
		t.Error(diff)
	}
	b.must(2, []string{"flight_exists", "--as-dir"}, "pull", archive, "--age-identity", keys)
	write(good)
	if diff := cmp.Diff(before, tree(t, b.flightFile(flight, ""))); diff != "" {
		t.Fatal(diff)
	}
	b.must(0, nil, "pull", archive, "--age-identity", keys)
	if diff := cmp.Diff(tree(t, d.flightFile(flight, "")), tree(t, b.flightFile(flight, ""))); diff != "" {
		t.Error(diff)
	}
	b.must(0, nil, "verify", flight)
	// Both forms of one file at once are neither.
	write(good)
	if err := os.WriteFile(b.flightFile(flight, bundle.SealedFile), []byte(before[bundle.SealedFile]), 0o600); err != nil {
		t.Fatal(err)
	}
	b.must(5, []string{"archive_malformed"}, "push", flight, "dir:"+t.TempDir(), "--plain-state")
}

// tree gives the files of a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			out[p] = read(t, filepath.Join(dir, p))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPullAsDirIsWholeOrNot refuses targets that cannot be, and leaves nothing behind.
func TestPullAsDirIsWholeOrNot(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.plan(4)
	archive := filepath.Join(t.TempDir(), "f.tar.zst")
	d.must(0, nil, "export", id, "--out", archive)
	b := d.another()
	b.must(4, nil, "status", archive)
	for _, name := range []string{"flights/anything", "flights/" + id, "tmp/x"} {
		b.must(2, []string{"state directory"}, "pull", archive, "--as-dir", b.path(".cabincrew/"+name))
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(b.path(".cabincrew/flights"), link); err != nil {
		t.Fatal(err)
	}
	b.must(2, []string{"state directory"}, "pull", archive, "--as-dir", filepath.Join(link, "x"))
	place := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := Main(ctx, []string{"pull", archive, "--as-dir", filepath.Join(place, "x"), "--config", b.path(".cabincrew.yaml")}, strings.NewReader(""), &out, &errs, b.env); code == 0 {
		t.Error("it was not interrupted")
	}
	if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	b.must(0, nil, "pull", archive, "--as-dir", filepath.Join(place, "x"))
	if left, err := os.ReadDir(place); err != nil || len(left) != 1 {
		t.Error(left, err)
	}
	if diff := cmp.Diff(tree(t, d.flightFile(id, "")), tree(t, filepath.Join(place, "x"))); diff != "" {
		t.Error(diff)
	}
	// A link in the place of a flight is not followed, whether it leads anywhere or not.
	if err := os.Symlink("nowhere", b.path(".cabincrew/flights/"+id)); err != nil {
		t.Fatal(err)
	}
	b.must(5, []string{"path_unsafe"}, "pull", archive)
	// Nobody waits for a pipe.
	pipe := filepath.Join(t.TempDir(), "p.tar.zst")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"verify", "pull", "show"} {
		b.must(2, []string{"not a regular file", "flight_unknown"}, command, pipe)
	}
}

// TestLeftTempsAreRemoved removes what killed commands without a state directory left,
// and nothing else.
func TestLeftTempsAreRemoved(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	want := map[string]bool{
		"cabincrew-stored-12345678": false, "cabincrew-push-1": false,
		"cabincrew-stored-notes": true, "cabincrew-stored-": true, "cabincrew-other-1": true, "cabincrew-stored-1.txt": true, "mine": true, "cabincrew-stored-77": true,
	}
	for name := range want {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Join(p, "flight"), 0o700); err != nil {
			t.Fatal(err)
		}
		age := now.Add(-25 * time.Hour)
		if name == "cabincrew-stored-77" {
			age = now.Add(-23 * time.Hour)
		}
		if err := os.Chtimes(p, age, age); err != nil {
			t.Fatal(err)
		}
	}
	sweepTemps(dir, now)
	for name, stays := range want {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}
