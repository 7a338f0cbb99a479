package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/registry"
	"github.com/cabincrew/action/protocol"
)

// ArtifactType is that of a flight in a registry.
const ArtifactType = "application/vnd.cabincrew.flight.v1"

// signatureType is that of a Sigstore bundle, as cosign names it.
const signatureType = "application/vnd.dev.sigstore.bundle.v0.3+json"

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeEmpty    = "application/vnd.oci.empty.v1+json"
	emptyConfig  = "{}"
)

// descriptor is a descriptor of the OCI image specification.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Data         string            `json:"data,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Platform     map[string]any    `json:"platform,omitempty"`
}

// manifest is an image manifest of the OCI image specification, 1.1.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// index is an image index; here only lists of referrers are.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Manifests     []descriptor      `json:"manifests"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

func newManifest(kind string, layer descriptor, annotations map[string]string) manifest {
	return manifest{
		SchemaVersion: 2, MediaType: typeManifest, ArtifactType: kind,
		Config: descriptor{MediaType: typeEmpty, Digest: protocol.Digest([]byte(emptyConfig)), Size: int64(len(emptyConfig))},
		Layers: []descriptor{layer}, Annotations: annotations,
	}
}

// annotations tell people and tools what the artifact is. Values come from the
// flight; what is not short and plain is left out.
func (m Meta) annotations() map[string]string {
	out := map[string]string{}
	for key, value := range map[string]string{
		"dev.cabincrew.flight.token": m.FlightToken, "dev.cabincrew.flight.workflow-id": m.WorkflowID,
		"dev.cabincrew.flight.decision": m.Decision, "dev.cabincrew.flight.change": m.Change,
		"dev.cabincrew.flight.head-commit": m.HeadCommit, "org.opencontainers.image.created": m.Created,
	} {
		if value != "" && len(value) <= limits.StorageAnnotation && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			out[key] = value
		}
	}
	return out
}

// Put stores the archive and its manifest, then the signature, then the tag: what
// has a name is whole.
func (s *ociStore) Put(ctx context.Context, archive *os.File, p Packed, m Meta) (Ref, error) {
	defer s.guard.Close()
	if err := s.upload(ctx, strings.NewReader(emptyConfig), protocol.Digest([]byte(emptyConfig)), int64(len(emptyConfig)), func(int64, int64) {}); err != nil {
		return Ref{}, err
	}
	if err := s.upload(ctx, archive, p.Digest, p.Size, s.o.Progress); err != nil {
		return Ref{}, err
	}
	flight := newManifest(ArtifactType, descriptor{MediaType: MediaType, Digest: p.Digest, Size: p.Size, Annotations: map[string]string{
		"org.opencontainers.image.title": "flight" + Suffix,
	}}, m.annotations())
	raw, d, err := s.putManifest(ctx, flight)
	if err != nil {
		return Ref{}, err
	}
	if len(m.PlanBundle) > 0 {
		if err := s.refer(ctx, d, m); err != nil {
			return Ref{}, err
		}
	}
	if s.ref.Tag != "" {
		if _, err := s.sendManifest(ctx, s.ref.Tag, typeManifest, raw); err != nil {
			return Ref{}, err
		}
	}
	return s.ref.Pinned(d.Digest), nil
}

// putManifest stores a manifest under its digest.
func (s *ociStore) putManifest(ctx context.Context, m manifest) ([]byte, descriptor, error) {
	raw, err := json.Marshal(m) // the keys of maps are sorted
	if err != nil {
		return nil, descriptor{}, err
	}
	d := descriptor{MediaType: typeManifest, Digest: protocol.Digest(raw), Size: int64(len(raw)), ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	a, err := s.sendManifest(ctx, d.Digest, typeManifest, raw)
	if err != nil || m.Subject == nil || a.header.Get("Oci-Subject") != "" {
		return raw, d, err
	}
	return raw, d, s.listReferrer(ctx, *m.Subject, d)
}

func (s *ociStore) sendManifest(ctx context.Context, name, mediaType string, raw []byte) (answer, error) {
	a, err := s.steady(ctx, question{
		scope: registry.Push, method: http.MethodPut, url: s.base + "manifests/" + name, body: raw, header: map[string]string{"Content-Type": mediaType},
	}, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return a, err
	}
	if got := a.header.Get("Docker-Content-Digest"); got != "" && got != protocol.Digest(raw) {
		return a, mismatch(s.ref.String(), "the registry keeps the manifest as %s", quoted(got))
	}
	return a, nil
}

// refer stores the plan's signature as cosign stores one, so that it finds it.
func (s *ociStore) refer(ctx context.Context, flight descriptor, m Meta) error {
	if len(m.PlanBundle) > limits.StorageBundle {
		return tooLarge("plan.sigstore.json", "the signature has more than %d bytes", limits.StorageBundle)
	}
	digest, size := protocol.Digest(m.PlanBundle), int64(len(m.PlanBundle))
	if err := s.upload(ctx, bytes.NewReader(m.PlanBundle), digest, size, func(int64, int64) {}); err != nil {
		return err
	}
	annotations := map[string]string{"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": m.PredicateType}
	if m.Created != "" {
		annotations["org.opencontainers.image.created"] = m.Created
	}
	referrer := newManifest(signatureType, descriptor{MediaType: signatureType, Digest: digest, Size: size}, annotations)
	referrer.Config.ArtifactType = signatureType
	referrer.Subject = &descriptor{MediaType: flight.MediaType, Digest: flight.Digest, Size: flight.Size}
	_, _, err := s.putManifest(ctx, referrer)
	return err
}

// listReferrer adds a referrer to the list that registries without an API for it
// have under a tag. One that has the API needs no list.
func (s *ociStore) listReferrer(ctx context.Context, subject, d descriptor) error {
	a, err := s.steady(ctx, question{scope: registry.Pull, method: http.MethodGet, url: s.base + "referrers/" + subject.Digest},
		http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusForbidden)
	if err != nil {
		return err
	}
	if a.status == http.StatusOK && strings.HasPrefix(a.header.Get("Content-Type"), typeIndex) {
		return nil
	}
	tag := strings.Replace(subject.Digest, ":", "-", 1)
	listed := func(i index) bool {
		return slices.ContainsFunc(i.Manifests, func(x descriptor) bool { return x.Digest == d.Digest })
	}
	// Others may change the list as well, and nothing locks it: it is read again.
	for range limits.StorageFallback {
		i, err := s.referrers(ctx, tag)
		if err != nil || listed(i) {
			return err
		}
		i.Manifests = append(i.Manifests, d)
		raw, err := json.Marshal(i)
		if err != nil {
			return err
		}
		if _, err := s.sendManifest(ctx, tag, typeIndex, raw); err != nil {
			return err
		}
	}
	return unreachable(s.ref.String(), "the signature does not stay in the list of referrers: others change it all the time")
}

func (s *ociStore) referrers(ctx context.Context, tag string) (index, error) {
	i := index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{}}
	a, err := s.steady(ctx, question{
		scope: registry.Pull, method: http.MethodGet, url: s.base + "manifests/" + tag, header: map[string]string{"Accept": typeIndex},
	}, http.StatusOK, http.StatusNotFound)
	if err != nil || a.status == http.StatusNotFound {
		return i, err
	}
	var have index
	if err := protocol.Decode(a.body, &have); err != nil || have.MediaType != typeIndex {
		return i, badManifest(s.ref.String(), "the list of referrers %s cannot be read", tag)
	}
	return have, nil
}

func badManifest(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "storage_manifest", format, args...).At(where).
		WithHint("the reference must be that of a flight, as cabincrew push prints it")
}

// Get fetches the manifest, compares it with its digest, then the archive that it names.
func (s *ociStore) Get(ctx context.Context, ref Ref, into *os.File) (Ref, error) {
	defer s.guard.Close()
	name := ref.Digest
	if name == "" {
		name = ref.Tag
	}
	if name == "" {
		return Ref{}, badRef(ref.String(), "has neither digest nor tag")
	}
	a, err := s.steady(ctx, question{
		scope: registry.Pull, method: http.MethodGet, url: s.base + "manifests/" + name, header: map[string]string{"Accept": typeManifest},
	}, http.StatusOK)
	if err != nil {
		return Ref{}, err
	}
	digest := protocol.Digest(a.body)
	if stated := a.header.Get("Docker-Content-Digest"); ref.Digest != "" && digest != ref.Digest || stated != "" && stated != digest {
		return Ref{}, mismatch(ref.String(), "what came for the manifest hashes to %s", digest)
	}
	layer, err := parseManifest(a.body)
	if err != nil {
		return Ref{}, badManifest(ref.String(), "%w", err)
	}
	return ref.Pinned(digest), s.download(ctx, layer, into)
}

// parseManifest gives the archive of a flight's manifest.
func parseManifest(raw []byte) (descriptor, error) {
	var m manifest
	if err := protocol.Decode(raw, &m); err != nil {
		return descriptor{}, fmt.Errorf("it is not the manifest of a flight: %w", err)
	}
	switch {
	case m.SchemaVersion != 2 || m.MediaType != typeManifest || m.ArtifactType != ArtifactType || m.Config.MediaType != typeEmpty || m.Subject != nil:
		return descriptor{}, fmt.Errorf("it is the manifest of %s, not of a flight", quoted(m.ArtifactType))
	case len(m.Layers) != 1 || m.Layers[0].MediaType != MediaType:
		return descriptor{}, errors.New("it does not name one archive")
	}
	layer := m.Layers[0]
	if _, err := protocol.ParseDigest(layer.Digest); err != nil || layer.Size <= 0 || layer.Size > limits.StorageArchive || len(layer.URLs) > 0 {
		return descriptor{}, errors.New("its archive has no right digest or size")
	}
	return layer, nil
}
