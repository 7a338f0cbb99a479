package onnx

import (
	"math"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cabincrew/action/policies"
)

// FeaturesVersion names the vector that a model with input "features" gets. A model
// says for which one it was made in its metadata, under FeaturesKey; a number that
// changes its meaning or place makes another version.
const (
	FeaturesVersion = "features/v1"
	FeaturesKey     = "cabincrew.features"
)

// features are the names of the numbers, in order. docs/models.md describes them.
var features = []string{
	"artifacts", "artifact_bytes",
	"files", "files_added", "files_deleted", "files_modified", "files_renamed",
	"lines_added", "lines_deleted", "binary_files", "executables_changed", "links",
	"directories", "top_directories", "path_depth_max", "path_bytes_max",
	"added_bytes", "line_bytes_max", "entropy", "line_entropy_max", "non_ascii_share", "hidden_runes",
	"kubernetes_objects", "resources_created", "resources_updated", "resources_destroyed", "opaque",
}

// FeatureNames gives the names of the numbers of FeaturesVersion, in order.
func FeatureNames() []string { return append([]string{}, features...) }

// Features gives the numbers of FeaturesVersion for the artifacts that r selects.
func Features(in policies.Input, r Reads) ([]float32, error) {
	c := counter{dirs: map[string]bool{}, tops: map[string]bool{}, n: map[string]float64{}}
	for _, a := range in.Artifacts {
		if !r.selects(a) {
			continue
		}
		c.n["artifacts"]++
		c.n["artifact_bytes"] += float64(a.Size)
		c.n["kubernetes_objects"] += float64(len(a.Kubernetes))
		if a.Terraform != nil {
			c.resources(a.Terraform)
		}
		if a.ArtifactType != patchType {
			continue
		}
		files, err := patchFiles(in, a)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			c.file(f)
		}
	}
	if in.Opaque {
		c.n["opaque"] = 1
	}
	c.n["directories"], c.n["top_directories"] = float64(len(c.dirs)), float64(len(c.tops))
	if total := c.n["added_bytes"]; total > 0 {
		c.n["entropy"] = entropy(&c.bytes, total)
		c.n["non_ascii_share"] = c.high / total
	}
	out := make([]float32, len(features))
	for i, name := range features {
		out[i] = float32(c.n[name])
	}
	return out, nil
}

type counter struct {
	n          map[string]float64
	dirs, tops map[string]bool
	bytes      [256]float64 // how often each byte is added
	high       float64      // bytes of 128 and above
}

func (c *counter) resources(t *policies.Terraform) {
	for _, r := range t.Resources {
		switch r.Action {
		case "create":
			c.n["resources_created"]++
		case "update":
			c.n["resources_updated"]++
		case "destroy", "replace":
			c.n["resources_destroyed"]++
		}
	}
}

// verbs are the names of the numbers that count operations on files.
var verbs = map[string]string{"add": "files_added", "delete": "files_deleted", "modify": "files_modified", "rename": "files_renamed"}

func (c *counter) file(f policies.PatchFile) {
	c.n["files"]++
	c.n[verbs[f.Op]]++
	c.n["lines_added"] += float64(f.Added)
	c.n["lines_deleted"] += float64(f.Deleted)
	for name, is := range map[string]bool{
		"binary_files": f.Binary, "executables_changed": f.ExecutableChanged, "links": f.OldMode == "120000" || f.NewMode == "120000",
	} {
		if is {
			c.n[name]++
		}
	}
	c.dirs[path.Dir(f.Path)] = true
	top, _, _ := strings.Cut(f.Path, "/")
	c.tops[top] = true
	c.most("path_depth_max", float64(strings.Count(f.Path, "/")))
	c.most("path_bytes_max", float64(len(f.Path)))
	for _, l := range f.AddedLines {
		c.line(l)
	}
}

// shortest is how many bytes a line needs for its entropy to say something.
const shortest = 32

func (c *counter) line(l string) {
	c.n["added_bytes"] += float64(len(l))
	c.most("line_bytes_max", float64(len(l)))
	var bytes [256]float64
	for i := range len(l) {
		bytes[l[i]]++
		if l[i] >= utf8.RuneSelf {
			c.high++
		}
	}
	for i := range bytes {
		c.bytes[i] += bytes[i]
	}
	if len(l) >= shortest {
		c.most("line_entropy_max", entropy(&bytes, float64(len(l))))
	}
	for _, r := range l {
		if r >= utf8.RuneSelf && (unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r)) {
			c.n["hidden_runes"]++
		}
	}
}

func (c *counter) most(name string, v float64) { c.n[name] = max(c.n[name], v) }

// entropy is Shannon's, in bits a byte. Each product is rounded before it is added
// (the conversion forbids fusing the two), so that all machines get one number.
func entropy(bytes *[256]float64, total float64) float64 {
	var sum float64
	for _, n := range bytes {
		if n > 0 {
			p := n / total
			sum -= float64(p * math.Log2(p))
		}
	}
	return sum
}

// sampleFeatures is what a model is tried with.
func sampleFeatures() []float32 {
	out := make([]float32, len(features))
	for i := range out {
		out[i] = float32(i%7) + 0.5
	}
	return out
}
