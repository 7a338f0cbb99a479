//go:build wasip1

// Command go-wasi is an engine in Go for WASI: it counts the lines of the
// Markdown files in the workspace. It uses the standard library only.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// artifact is the name of the one artifact: evidence that policies judge.
const artifact = "line-counts"

// input is the part of EngineInput that this engine reads.
type input struct {
	Mode   string `json:"mode"`
	Config config `json:"config"`
}

type config struct {
	Suffix string `json:"suffix"`
}

// receipt is EngineOutput.
type receipt struct {
	ProtocolVersion string     `json:"protocol_version"`
	EngineID        string     `json:"engine_id"`
	Mode            string     `json:"mode"`
	ReceiptID       string     `json:"receipt_id"`
	Status          string     `json:"status"`
	Artifacts       []declared `json:"artifacts,omitempty"`
}

type declared struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Path string `json:"path"`
	Hash string `json:"hash"`
	Size int    `json:"size"`
}

type description struct {
	Type     string            `json:"artifact_type"`
	Action   string            `json:"action"`
	Mime     string            `json:"mime"`
	BodyFile string            `json:"body_file"`
	Metadata map[string]string `json:"metadata"`
}

// count is one line of the evidence.
type count struct {
	File  string `json:"file"`
	Lines int    `json:"lines"`
}

// errInput marks what is exit code 2: the input is not right. All else is 1.
var errInput = errors.New("input")

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "go-wasi:", err)
		if errors.Is(err, errInput) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run() error {
	in, err := read()
	if err != nil {
		return err
	}
	if in.Mode == "flight-plan" {
		return plan(in)
	}
	return takeOff(in)
}

// read reads EngineInput from stdin and compares its mode with the arguments'.
func read() (input, error) {
	in := input{Config: config{Suffix: ".md"}}
	raw, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20+1))
	if err != nil {
		return in, err
	}
	if len(raw) > 1<<20 {
		return in, fmt.Errorf("%w: more than 1 MiB", errInput)
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return in, fmt.Errorf("%w: %v", errInput, err)
	}
	var parts struct {
		Config json.RawMessage `json:"config"`
	}
	_ = json.Unmarshal(raw, &parts) // it was read above
	if len(parts.Config) > 0 {
		strict := json.NewDecoder(bytes.NewReader(parts.Config))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&in.Config); err != nil {
			return in, fmt.Errorf("%w: config: %v", errInput, err)
		}
	}
	n := len(os.Args)
	if n < 3 || os.Args[n-2] != "--mode" || os.Args[n-1] != in.Mode || in.Mode != "flight-plan" && in.Mode != "take-off" {
		return in, fmt.Errorf("%w: --mode is not the input's mode %q", errInput, in.Mode)
	}
	if in.Config.Suffix == "" {
		return in, fmt.Errorf("%w: config: suffix is empty", errInput)
	}
	return in, nil
}

// plan counts and writes what it found. The workspace is read-only here.
func plan(in input) error {
	root := os.Getenv("CABINCREW_WORKSPACE")
	counts := []count{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case !d.Type().IsRegular() || !strings.HasSuffix(d.Name(), in.Config.Suffix):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		counts = append(counts, count{File: name, Lines: bytes.Count(text, []byte("\n"))})
		return err
	})
	if err != nil {
		return err
	}
	body, err := json.MarshalIndent(counts, "", "  ")
	if err != nil {
		return err
	}
	body = append(body, '\n')
	digest := hash(body)
	about, err := json.Marshal(description{
		Type: "report", Action: "none", Mime: "application/json", BodyFile: "body.data",
		Metadata: map[string]string{"sha256": digest},
	})
	if err != nil {
		return err
	}
	dir := filepath.Join(os.Getenv("CABINCREW_ARTIFACTS_DIR"), artifact)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "body.data"), body, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "artifact.json"), about, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "counted %d files\n", len(counts)) // the log; stdout is for the receipt
	return write(in, digest, declared{Name: artifact, Role: "evidence", Path: artifact, Hash: digest, Size: len(body)})
}

// takeOff reads the planned artifact back. There is nothing to apply.
func takeOff(in input) error {
	dir := filepath.Join(os.Getenv("CABINCREW_ARTIFACTS_DIR"), artifact)
	raw, err := os.ReadFile(filepath.Join(dir, "artifact.json"))
	if err != nil {
		return err
	}
	var about description
	if err := json.Unmarshal(raw, &about); err != nil {
		return err
	}
	body, err := os.ReadFile(filepath.Join(dir, "body.data"))
	if err != nil {
		return err
	}
	if hash(body) != about.Metadata["sha256"] {
		return errors.New("the planned artifact was changed")
	}
	return write(in, hash(body))
}

// write writes the receipt. Its id depends on nothing but what was done.
func write(in input, digest string, artifacts ...declared) error {
	raw, err := json.Marshal(receipt{
		ProtocolVersion: "draft", EngineID: "go-wasi", Mode: in.Mode,
		ReceiptID: "go-wasi-" + in.Mode + "-" + digest[len("sha256:"):][:16], Status: "success", Artifacts: artifacts,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("CABINCREW_OUTPUT_FILE"), raw, 0o644)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
