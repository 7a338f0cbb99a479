// Command go-native is an engine in Go: it finds source files without a licence
// line, and in take-off adds the line to exactly those. It uses the standard
// library only.
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
	"path"
	"strings"
)

const (
	artifact = "licences" // the one artifact: evidence that policies judge
	mark     = "SPDX-License-Identifier:"
	most     = 1 << 20 // bytes of input
)

// input is the part of EngineInput that this engine reads.
type input struct {
	Mode   string `json:"mode"`
	Config config `json:"config"`
}

type config struct {
	Licence string `json:"licence"`
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
}

type description struct {
	Type     string            `json:"artifact_type"`
	Action   string            `json:"action"`
	Mime     string            `json:"mime"`
	BodyFile string            `json:"body_file"`
	Metadata map[string]string `json:"metadata"`
}

// licences is the evidence: what will be written, and into which files.
type licences struct {
	Licence string `json:"licence"`
	Files   []file `json:"files"`
}

type file struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"` // before
}

// errInput marks what is exit code 2: the input is not right. All else is 1.
var errInput = errors.New("input")

func main() {
	err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	_, _ = fmt.Fprintln(os.Stderr, "go-native:", err) // there is nowhere else to say it
	code := 1
	if errors.Is(err, errInput) {
		code = 2
	}
	os.Exit(code) //nolint:forbidigo // this is a program of its own
}

func run(args []string, stdin io.Reader, stdout, log io.Writer) error {
	in, err := read(args, stdin)
	if err != nil {
		return err
	}
	workspace, err := os.OpenRoot(os.Getenv("CABINCREW_WORKSPACE"))
	if err != nil {
		return err
	}
	defer func() { _ = workspace.Close() }() // files are closed one by one
	artifacts, err := os.OpenRoot(os.Getenv("CABINCREW_ARTIFACTS_DIR"))
	if err != nil {
		return err
	}
	defer func() { _ = artifacts.Close() }() // as above
	out := receipt{ProtocolVersion: "draft", EngineID: "go-native", Mode: in.Mode, ReceiptID: "go-native-" + in.Mode, Status: "success"}
	if in.Mode == "flight-plan" {
		out.Artifacts, err = plan(workspace, artifacts, in.Config, log)
	} else {
		err = takeOff(workspace, artifacts, log)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(out)
}

// read reads EngineInput and compares its mode with the arguments'.
func read(args []string, stdin io.Reader) (input, error) {
	in := input{Config: config{Licence: "Apache-2.0"}}
	refuse := func(format string, a ...any) (input, error) {
		return in, fmt.Errorf("%w: %s", errInput, fmt.Sprintf(format, a...))
	}
	if len(args) != 2 || args[0] != "--mode" || args[1] != "flight-plan" && args[1] != "take-off" {
		return refuse("usage: go-native --mode flight-plan|take-off")
	}
	raw, err := io.ReadAll(io.LimitReader(stdin, most+1))
	switch {
	case err != nil:
		return in, err
	case len(raw) > most:
		return refuse("it has more than %d bytes", most)
	}
	var parts struct {
		Mode   string          `json:"mode"`
		Config json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return refuse("%v", err)
	}
	if in.Mode = parts.Mode; in.Mode != args[1] {
		return refuse("it is of mode %q", in.Mode)
	}
	if len(parts.Config) > 0 {
		strict := json.NewDecoder(bytes.NewReader(parts.Config))
		strict.DisallowUnknownFields() // a mistyped setting must not go unnoticed
		if err := strict.Decode(&in.Config); err != nil {
			return refuse("config: %v", err)
		}
	}
	if in.Config.Licence == "" || strings.ContainsAny(in.Config.Licence, "\r\n") {
		return refuse("config: licence is one line")
	}
	return in, nil
}

// plan finds the files and writes down what take-off will do.
func plan(workspace, artifacts *os.Root, c config, log io.Writer) ([]declared, error) {
	found := licences{Licence: c.Licence, Files: []file{}}
	// WalkDir sorts, so the order does not depend on the file system.
	err := fs.WalkDir(workspace.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular() || prefix(name) == "":
			return nil
		}
		text, err := workspace.ReadFile(name)
		if err == nil && !bytes.HasPrefix(text, []byte("#!")) && !bytes.Contains(text[:min(len(text), 1024)], []byte(mark)) {
			found.Files = append(found.Files, file{name, hash(text)})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	body, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		return nil, err
	}
	about, err := json.Marshal(description{Type: "report", Action: "modify", Mime: "application/json", BodyFile: "body.data", Metadata: map[string]string{"sha256": hash(body)}})
	if err != nil {
		return nil, err
	}
	if err := artifacts.Mkdir(artifact, 0o755); err != nil {
		return nil, err
	}
	for name, data := range map[string][]byte{"body.data": body, "artifact.json": about} {
		if err := artifacts.WriteFile(artifact+"/"+name, data, 0o644); err != nil {
			return nil, err
		}
	}
	_, _ = fmt.Fprintf(log, "%d files have no licence line\n", len(found.Files)) // the log; stdout is for the receipt
	return []declared{{Name: artifact, Role: "evidence", Path: artifact, Hash: hash(body)}}, nil
}

// takeOff does what was planned. It reads and compares everything before it
// writes anything.
func takeOff(workspace, artifacts *os.Root, log io.Writer) error {
	raw, err := artifacts.ReadFile(artifact + "/artifact.json")
	if err != nil {
		return err
	}
	var about description
	if err := json.Unmarshal(raw, &about); err != nil {
		return err
	}
	body, err := artifacts.ReadFile(artifact + "/body.data")
	if err != nil {
		return err
	}
	if hash(body) != about.Metadata["sha256"] {
		return errors.New("the planned artifact was changed")
	}
	var planned licences
	if err := json.Unmarshal(body, &planned); err != nil {
		return err
	}
	texts := make([][]byte, len(planned.Files))
	for i, f := range planned.Files {
		if texts[i], err = workspace.ReadFile(f.Path); err != nil {
			return err
		}
		if hash(texts[i]) != f.SHA256 {
			return fmt.Errorf("%s is not as it was planned over", f.Path)
		}
	}
	for i, f := range planned.Files {
		line := prefix(f.Path) + mark + " " + planned.Licence + "\n\n"
		if err := workspace.WriteFile(f.Path, append([]byte(line), texts[i]...), 0o644); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(log, "%d files have a licence line now\n", len(texts)) // as above
	return nil
}

// prefix gives how a comment begins in a file, "" for files that are left alone.
func prefix(name string) string {
	switch path.Ext(name) {
	case ".go", ".js", ".c", ".rs":
		return "// "
	case ".py", ".sh":
		return "# "
	}
	return ""
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
