package forge

import (
	"encoding/base64"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	agecrypt "filippo.io/age"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/test/githubtest"
)

// stock is a registry on loopback in which flights are kept.
type stock struct {
	t    *testing.T
	host string
	down atomic.Bool  // it answers 503
	asks atomic.Int64 // requests that it was asked
	auth string       // the header that it demands, if any
	less atomic.Value // string: the digest of a blob that it has lost
}

func newStock(t *testing.T) *stock {
	t.Helper()
	k := &stock{t: t}
	shelf := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		k.asks.Add(1)
		switch {
		case k.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case k.less.Load() != nil && strings.HasSuffix(q.URL.Path, "/blobs/"+k.less.Load().(string)):
			w.WriteHeader(http.StatusNotFound)
		case k.auth != "" && q.Header.Get("Authorization") != k.auth:
			w.Header().Set("WWW-Authenticate", `Basic realm="flights"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			shelf.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(server.Close)
	k.host = strings.TrimPrefix(server.URL, "http://")
	return k
}

// config says in a configuration that flights are kept there.
func (k *stock) config() string { return "storage: {flights: \"oci:" + k.host + "/acme/flights\"}\n" }

func (k *stock) repo() name.Repository {
	repo, err := name.NewRepository(k.host+"/acme/flights", name.Insecure)
	must(k.t, err)
	return repo
}

func (k *stock) tags() []string {
	k.t.Helper()
	tags, err := remote.List(k.repo())
	var none *transport.Error
	if errors.As(err, &none) && none.StatusCode == http.StatusNotFound {
		return nil
	}
	must(k.t, err)
	return tags
}

// tag is the tag of a part of what an attempt of a run made.
func (r *rig) tagOf(run *githubtest.Run, attempt, part string) string {
	return "flight-" + id(r.repo.ID) + "-" + number(run) + "-" + attempt + "-" + part
}

// moves puts under one tag what another names, as somebody who may write there can.
func (k *stock) moves(from, to string) {
	k.t.Helper()
	found, err := remote.Get(k.repo().Tag(from))
	must(k.t, err)
	must(k.t, remote.Tag(k.repo().Tag(to), found))
}

func (k *stock) removes(tag string) {
	k.t.Helper()
	must(k.t, remote.Delete(k.repo().Tag(tag)))
}

// fetched gives the files of what a tag names.
func (k *stock) fetched(tag string) map[string][]byte {
	k.t.Helper()
	image, err := remote.Image(k.repo().Tag(tag))
	must(k.t, err)
	layers, err := image.Layers()
	must(k.t, err)
	in, err := layers[0].Compressed()
	must(k.t, err)
	data, err := io.ReadAll(in)
	must(k.t, err)
	at := filepath.Join(k.t.TempDir(), "kept"+bundle.Suffix)
	must(k.t, os.WriteFile(at, data, 0o600))
	return unpacked(k.t, at)
}

// storing makes a rig whose flights are kept so.
func storing(t *testing.T, store string) (*rig, *stock) {
	t.Helper()
	k := newStock(t)
	r := newRig(t, byReview+k.config(), nil)
	r.inputs = map[string]string{"store": store}
	return r, k
}

// TestFlightInRegistry: with oci a flight goes from plan to take-off by the registry
// alone; with both the registry has what Actions does not keep any more.
func TestFlightInRegistry(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		store string
		lose  func(*githubtest.Artifact)
		asked bool // whether Actions are asked for artifacts
	}{
		"oci":          {"oci", (*githubtest.Artifact).Delete, false},
		"both expired": {"both", (*githubtest.Artifact).Expire, true},
		"both deleted": {"both", (*githubtest.Artifact).Delete, true},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			r, k := storing(t, c.store)
			p := r.plan(r.open("feature", "two\n"), "opened", 0)
			r.budget(0, 12)
			c.lose(p.kept)
			r.approve(p.pull)
			calls := len(r.hub.Requests())
			r.land(p.pull, 0)
			r.budget(calls, 20)
			r.wantTagged("begun done", p)
			asked := slices.ContainsFunc(r.hub.Requests()[calls:], func(q githubtest.Request) bool { return q.Op == "actions/list-workflow-run-artifacts" })
			if asked != c.asked {
				t.Errorf("artifacts were asked for: %v", asked)
			}
			if tags := k.tags(); !slices.Contains(tags, r.tagOf(p.run, "1", "judged")) || !slices.ContainsFunc(tags, func(s string) bool { return strings.HasSuffix(s, "-1-landed") }) {
				t.Errorf("the registry has %q", tags)
			}
			r.takeOff(r.repo.Tip("refs/heads/main"), p.pull.Head(), 0) // done before
			if n := strings.Count(strings.Join(k.tags(), " "), "-landed"); n != 1 {
				t.Errorf("%d flights have landed: %q", n, k.tags())
			}
		})
	}
}

// TestBothNeedsNoRegistryToTakeOff: what Actions have is not asked of the registry.
func TestBothNeedsNoRegistryToTakeOff(t *testing.T) {
	t.Parallel()
	r, k := storing(t, "both")
	p := r.approved("feature", "two\n")
	k.down.Store(true)
	done := r.land(p.pull, 0)
	r.wantTagged("begun done", p)
	if c := r.lastCheck(takeOffCheck); c.Conclusion != "success" || !strings.Contains(c.Summary+c.Text, "could not be put into the registry") {
		t.Errorf("the check is %s:\n%s\n%s\n%s", c.Conclusion, c.Summary, c.Text, done.stderr)
	}
}

// TestThreeJobsInRegistry has the signed part of a job of its own, a review, and an
// equal plan of a second run, which keeps the approval.
func TestThreeJobsInRegistry(t *testing.T) {
	t.Parallel()
	r, k := storing(t, "oci")
	p := r.open("feature", "two\n")
	first := r.inThree(p)
	if tags := k.tags(); !slices.Equal(tags, []string{r.tagOf(first.run, "1", "judged"), r.tagOf(first.run, "1", "signed")}) {
		t.Errorf("the registry has %q", tags)
	}
	for file := range k.fetched(r.tagOf(first.run, "1", "signed")) {
		if strings.Contains(file, "artifacts/") {
			t.Errorf("the signed part has %s", file)
		}
	}
	r.approve(p)
	r.inThree(p)
	r.review(p)
	if c := r.lastCheck(planCheck); c.Conclusion != "success" || !strings.Contains(c.Summary, "bob") {
		t.Errorf("after the review the check is %s:\n%s", c.Conclusion, c.Summary)
	}
	r.lands(p, 0)
	if slices.ContainsFunc(r.hub.Requests(), func(q githubtest.Request) bool { return q.Op == "actions/list-workflow-run-artifacts" }) {
		t.Error("artifacts of Actions were looked for")
	}
}

// TestForkInRegistry seals a fork's change in the base and takes it off.
func TestForkInRegistry(t *testing.T) {
	t.Parallel()
	r, k := storing(t, "oci")
	f := r.forked("mallory", "two\n")
	run, planned := r.planForked(f)
	r.inputs = map[string]string{"store": "oci"}
	r.sealForked(f, run, planned.handed())
	if tags := k.tags(); len(tags) != 2 || slices.Contains(tags, r.tagOf(run, "1", "judged")) {
		t.Errorf("the registry has %q", tags)
	}
	r.approve(f.Pull)
	r.lands(f.Pull, 0)
}

// TestSingleStepInRegistry: flights of single steps of one run have tags of their own.
func TestSingleStepInRegistry(t *testing.T) {
	t.Parallel()
	r, k := storing(t, "oci")
	r.inputs["step"] = "edit"
	p := r.approved("feature", "two\n")
	if tags, want := k.tags(), r.tagOf(p.run, "1", "judged-edit"); !slices.Equal(tags, []string{want}) {
		t.Errorf("the registry has %q, not %s", tags, want)
	}
	r.land(p.pull, 0)
}

// TestT15OtherFlightUnderTheTag puts something else under the tag that a take-off reads.
func TestT15OtherFlightUnderTheTag(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"oci", "both"} {
		t.Run("of another change with "+store, func(t *testing.T) {
			t.Parallel()
			r, k := storing(t, store)
			p, other := r.approved("feature", "two\n"), r.approved("other", "three\n")
			p.kept.Delete()
			k.moves(r.tagOf(other.run, "1", "judged"), r.tagOf(p.run, "1", "judged"))
			r.landRefused(p.pull, 5, "flight_foreign")
		})
	}
	t.Run("an older run's flight of the commit", func(t *testing.T) {
		t.Parallel()
		r, k := storing(t, "oci")
		p := r.open("feature", "two\n")
		first := r.plan(p, "opened", 0)
		r.approve(p)
		second := r.plan(p, "reopened", 0)
		k.moves(r.tagOf(first.run, "1", "judged"), r.tagOf(second.run, "1", "judged"))
		r.landRefused(p, 5, "flight_foreign")
	})
	t.Run("another's signature", func(t *testing.T) {
		t.Parallel()
		r, k := storing(t, "oci")
		p, other := r.open("feature", "two\n"), r.open("other", "three\n")
		mine, theirs := r.inThree(p), r.inThree(other)
		r.approve(p)
		k.moves(r.tagOf(theirs.run, "1", "signed"), r.tagOf(mine.run, "1", "signed"))
		r.refused(r.lands(p, 5), "")
	})
	t.Run("no flight", func(t *testing.T) {
		t.Parallel()
		r, k := storing(t, "oci")
		p := r.approved("feature", "two\n")
		must(t, remote.Put(k.repo().Tag(r.tagOf(p.run, "1", "judged")), raw(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)))
		r.landRefused(p.pull, 5, "storage_manifest")
	})
}

// raw is a manifest as it stands.
type raw string

func (m raw) RawManifest() ([]byte, error) { return []byte(m), nil }

// TestT39FlightGoneFromRegistry: what the newest run kept is not there, or the registry
// is not. Nothing older takes its place.
func TestT39FlightGoneFromRegistry(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		store string
		lose  func(r *rig, k *stock, newest planned)
		code  string
	}{
		"the tag is deleted":             {"oci", func(r *rig, k *stock, p planned) { k.removes(r.tagOf(p.run, "1", "judged")) }, "flight_missing"},
		"it is in neither":               {"both", func(r *rig, k *stock, p planned) { k.removes(r.tagOf(p.run, "1", "judged")); p.kept.Delete() }, "flight_missing"},
		"it expired in one":              {"both", func(r *rig, k *stock, p planned) { k.removes(r.tagOf(p.run, "1", "judged")); p.kept.Expire() }, "flight_missing"},
		"the registry is down with both": {"both", func(_ *rig, k *stock, p planned) { k.down.Store(true); p.kept.Delete() }, "storage_unreachable"},
		"the registry is down":           {"oci", func(_ *rig, k *stock, _ planned) { k.down.Store(true) }, "storage_unreachable"},
		"nobody may read it":             {"oci", func(_ *rig, k *stock, _ planned) { k.auth = "Basic x" }, "storage_unreachable"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			r, k := storing(t, c.store)
			p := r.open("feature", "two\n")
			r.plan(p, "opened", 0)
			r.approve(p)
			c.lose(r, k, r.plan(p, "reopened", 0))
			r.landRefused(p, 7, c.code)
		})
	}
}

// TestT39OlderAttemptInRegistry: a job that went well is not run again, so an older
// attempt's flight counts where the newest went well, and only there.
func TestT39OlderAttemptInRegistry(t *testing.T) {
	t.Parallel()
	for conclusion, code := range map[string]int{"success": 0, "failure": 7} {
		t.Run(conclusion, func(t *testing.T) {
			t.Parallel()
			r, _ := storing(t, "oci")
			p := r.approved("feature", "two\n")
			p.run.Rerun(r.author)
			p.run.Finish(conclusion)
			r.hub.Advance(1e9)
			r.land(p.pull, code)
		})
	}
}

// TestT39AttemptWithoutItsBytes: a tag of the newest attempt whose bytes are gone is not
// passed by for an older attempt's.
func TestT39AttemptWithoutItsBytes(t *testing.T) {
	t.Parallel()
	r, k := storing(t, "oci")
	p := r.approved("feature", "two\n")
	p.run.Rerun(r.author)
	p.run.Finish("success")
	image, err := remote.Image(k.repo().Tag(r.tagOf(p.run, "1", "judged")))
	must(t, err)
	text, err := image.RawManifest()
	must(t, err)
	layers, err := image.Layers()
	must(t, err)
	digest, err := layers[0].Digest()
	must(t, err)
	k.less.Store(digest.String())
	must(t, remote.Put(k.repo().Tag(r.tagOf(p.run, "2", "judged")), raw(text)))
	r.hub.Advance(1e9)
	r.landRefused(p.pull, 7, "storage_missing")
}

// TestT22StateInRegistry: state leaves for a registry encrypted or not at all, whoever
// may read the repository.
func TestT22StateInRegistry(t *testing.T) {
	t.Parallel()
	identity, err := agecrypt.GenerateX25519Identity()
	must(t, err)
	for title, private := range map[string]bool{"public": false, "private": true} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			k := newStock(t)
			r := notifying(t, byReview+strings.Replace(k.config(), "}", ", encrypt_to: ["+identity.Recipient().String()+"]}", 1), "full")
			r.repo.Private, r.inputs = private, map[string]string{"store": "oci"}
			p := r.approved("feature", "two\n")
			files := k.fetched(r.tagOf(p.run, "1", "judged"))
			const state = "steps/notify/artifacts/saved/body.data"
			if files[state] != nil || !strings.HasPrefix(string(files[state+".age"]), "age-encryption.org/v1\n") {
				t.Errorf("the registry has %q", slices.Sorted(maps.Keys(files)))
			}
			before, commit := r.repo.Tip("refs/heads/main"), p.pull.Merge(r.author, "merge")
			run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
			j := r.push(commit, before, number(run))
			at := filepath.Join(t.TempDir(), "identity")
			must(t, os.WriteFile(at, []byte(identity.String()+"\n"), 0o600))
			j.env = map[string]string{"CABINCREW_AGE_IDENTITY": at}
			r.want(0, "auto", j)
			if files := k.fetched(r.tagOf(run, "1", "landed")); files[state] != nil || files[state+".age"] == nil {
				t.Errorf("after the take-off the registry has %q", slices.Sorted(maps.Keys(files)))
			}
		})
		t.Run(title+" to nobody", func(t *testing.T) {
			t.Parallel()
			k := newStock(t)
			r := notifying(t, byReview+k.config(), "full")
			r.repo.Private, r.inputs = private, map[string]string{"store": "oci"}
			got := r.plan(r.open("feature", "two\n"), "opened", 2)
			if !strings.Contains(got.got.stderr, "encrypt_to") || len(k.tags()) > 0 {
				t.Errorf("it says\n%s, and the registry has %q", got.got.stderr, k.tags())
			}
		})
	}
}

// TestT36StoreIsTheGovernances: the place is the protected branch's, and a store that it
// does not name is refused before anything is done.
func TestT36StoreIsTheGovernances(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct{ rest, store, code string }{
		"no place":    {"", "oci", "ci_store"},
		"a directory": {"storage: {flights: \"dir:flights\"}\n", "both", "ci_store"},
		"a reference": {"", "oci:registry.example.com/x", "ci_input"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview+c.rest, nil)
			r.inputs = map[string]string{"store": c.store}
			got := r.plan(r.open("feature", "two\n"), "opened", 2)
			if !strings.Contains(got.got.stderr, c.code) {
				t.Errorf("it says\n%s", got.got.stderr)
			}
		})
	}
	t.Run("the change's own", func(t *testing.T) {
		t.Parallel()
		r, k := storing(t, "oci")
		evil := newStock(t)
		p := r.openFiles("feature", map[string]string{"app.txt": "two\n", ".cabincrew.yaml": r.configuration(byReview + evil.config())})
		r.plan(p, "opened", 0)
		if len(k.tags()) == 0 || evil.asks.Load() != 0 {
			t.Errorf("the registry has %q, and that of the change was asked %d times", k.tags(), evil.asks.Load())
		}
	})
}

// TestRegistryNeedsCredentials logs in with the Docker configuration that a job is given.
func TestRegistryNeedsCredentials(t *testing.T) {
	t.Parallel()
	r, k := storing(t, "oci")
	basic := base64.StdEncoding.EncodeToString([]byte("robot:hidden-word"))
	k.auth = "Basic " + basic
	p := r.open("feature", "two\n")
	bad := r.plan(p, "opened", 7)
	r.inputs["registry-config"] = `{"auths": {"` + k.host + `": {"auth": "` + basic + `"}}}`
	good := r.plan(p, "reopened", 0)
	for _, got := range []result{bad.got, good.got} {
		if strings.Contains(got.stdout+got.stderr+got.summary, "hidden-word") || strings.Contains(got.stdout+got.stderr+got.summary, basic) {
			t.Errorf("it tells the password:\n%s\n%s", got.stdout, got.stderr)
		}
	}
	r.approve(p)
	r.land(p, 0)
}

// TestRegistryDownWhilePlanning fails the job: what the governance wants kept there is not.
func TestRegistryDownWhilePlanning(t *testing.T) {
	t.Parallel()
	r, k := storing(t, "both")
	k.down.Store(true)
	r.plan(r.open("feature", "two\n"), "opened", 7)
	if c := r.lastCheck(planCheck); c.Conclusion != "failure" {
		t.Errorf("the check says %s", c.Conclusion)
	}
}
