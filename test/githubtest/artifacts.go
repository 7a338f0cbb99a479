package githubtest

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Artifact is what a run uploaded. What a test reads of it does not change.
type Artifact struct {
	ID   int64
	Name string
	Run  *Run

	data    []byte
	digest  string
	at      time.Time
	expires time.Time
	deleted bool
}

// The life of artifacts, and of the addresses that they are downloaded from.
const (
	artifactLife = 90 * 24 * time.Hour
	addressLife  = time.Minute
)

// blob is what a signed address leads to.
type blob struct {
	data    []byte
	expires time.Time
}

// Upload uploads files as an artifact, zipped as GitHub does.
func (n *Run) Upload(name string, files map[string][]byte) *Artifact {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(file)
		if err == nil {
			_, err = w.Write(files[file])
		}
		n.Repo.s.check(err)
	}
	n.Repo.s.check(z.Close())
	return n.UploadZip(name, b.Bytes())
}

// UploadZip uploads bytes as the zip of an artifact, whatever they are.
func (n *Run) UploadZip(name string, data []byte) *Artifact {
	s := n.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &Artifact{ID: s.id(), Name: name, Run: n, data: data, digest: fmt.Sprintf("sha256:%x", sha256.Sum256(data)), at: s.now, expires: s.now.Add(artifactLife)}
	n.Repo.artifacts = append(n.Repo.artifacts, a)
	return a
}

// Replace changes the bytes of an artifact behind its digest.
func (a *Artifact) Replace(data []byte) {
	a.Run.Repo.s.mu.Lock()
	defer a.Run.Repo.s.mu.Unlock()
	a.data = data
}

// Expire lets an artifact's time be over.
func (a *Artifact) Expire() {
	a.Run.Repo.s.mu.Lock()
	defer a.Run.Repo.s.mu.Unlock()
	a.expires = a.Run.Repo.s.now
}

// Delete deletes an artifact.
func (a *Artifact) Delete() {
	a.Run.Repo.s.mu.Lock()
	defer a.Run.Repo.s.mu.Unlock()
	a.deleted = true
}

func (c *call) artifactBody(a *Artifact) obj {
	at := c.s.URL() + "/repos/" + c.repo.FullName() + "/actions/artifacts/" + strconv.FormatInt(a.ID, 10)
	return obj{
		"id": a.ID, "node_id": node("AR", a.ID), "name": a.Name, "size_in_bytes": len(a.data), "url": at, "archive_download_url": at + "/zip", "expired": !c.s.now.Before(a.expires), "digest": a.digest,
		"created_at": stamp(a.at), "updated_at": stamp(a.at), "expires_at": stamp(a.expires),
		"workflow_run": obj{"id": a.Run.ID, "repository_id": a.Run.Repo.ID, "head_repository_id": a.Run.From.ID, "head_branch": a.Run.Branch, "head_sha": a.Run.SHA},
	}
}

func (c *call) artifactsOf(in func(*Artifact) bool) []any {
	var out []any
	for _, a := range slices.Backward(c.repo.artifacts) {
		if !a.deleted && in(a) && c.wants("name", a.Name) {
			out = append(out, c.artifactBody(a))
		}
	}
	return out
}

func (c *call) listArtifacts() reply {
	return c.counted("artifacts", c.artifactsOf(func(*Artifact) bool { return true }))
}

func (c *call) listRunArtifacts() reply {
	n := c.run()
	if n == nil {
		return notFound()
	}
	return c.counted("artifacts", c.artifactsOf(func(a *Artifact) bool { return a.Run == n }))
}

func (c *call) artifact() *Artifact {
	for _, a := range c.repo.artifacts {
		if a.ID == c.number("artifact_id") && !a.deleted {
			return a
		}
	}
	return nil
}

func (c *call) getArtifact() reply {
	a := c.artifact()
	if a == nil {
		return notFound()
	}
	return ok(c.artifactBody(a))
}

// download answers where an artifact is: an address on another host that works for a
// minute, for everybody who has it.
func (c *call) download() reply {
	a := c.artifact()
	if a == nil {
		return notFound()
	}
	if !c.s.now.Before(a.expires) {
		return refused(http.StatusGone, "Artifact has expired")
	}
	if c.vars["archive_format"] != "zip" {
		return invalid("Unsupported archive format")
	}
	key := rand.Text()
	c.s.signed[key] = blob{a.data, c.s.now.Add(addressLife)}
	c.header.Set("Location", c.s.BlobURL()+"/artifacts/"+strconv.FormatInt(a.ID, 10)+".zip?sig="+key)
	return reply{http.StatusFound, nil}
}

// serveBlob serves artifacts. As the real store it refuses who brings a token.
func (s *Server) serveBlob(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	b, there := s.signed[r.URL.Query().Get("sig")]
	late := there && s.now.After(b.expires)
	f := s.due("blob", r)
	s.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "":
		http.Error(w, "InvalidAuthenticationInfo", http.StatusBadRequest)
	case f != nil && f.Status != 0:
		http.Error(w, http.StatusText(f.Status), f.Status)
	case !there || late || !strings.HasPrefix(r.URL.Path, "/artifacts/"):
		http.Error(w, "AuthenticationFailed", http.StatusForbidden)
	default:
		header := http.Header{"Content-Type": {"application/zip"}, "Content-Length": {strconv.Itoa(len(b.data))}}
		f.send(w, r, header, raw{http.StatusOK, b.data})
	}
}
