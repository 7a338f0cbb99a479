// Command tiny is an engine that runs anywhere, also as a WASI module and alone in
// an image: it plans a note of what it sees and, at take-off, writes it to out.txt.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tiny:", err)
		os.Exit(1)
	}
}

func run() error {
	mode := os.Getenv("CABINCREW_MODE")
	note := filepath.Join(os.Getenv("CABINCREW_ARTIFACTS_DIR"), "note")
	body := filepath.Join(note, "body.data")
	artifacts := ""
	if mode == "flight-plan" {
		text, err := see()
		if err != nil {
			return err
		}
		if err := os.Mkdir(note, 0o755); err != nil {
			return err
		}
		description := `{"artifact_type":"file","action":"create","target":"out.txt","mime":"text/plain","body_file":"body.data"}`
		if err := os.WriteFile(filepath.Join(note, "artifact.json"), []byte(description), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(body, []byte(text), 0o644); err != nil {
			return err
		}
		artifacts = fmt.Sprintf(`{"name":"note","role":"evidence","path":"note","hash":"%x"}`, sha256.Sum256([]byte(text)))
	} else {
		text, err := os.ReadFile(body)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(os.Getenv("CABINCREW_WORKSPACE"), "out.txt"), text, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf(`{"protocol_version":"draft","engine_id":"tiny","mode":"%s","receipt_id":"r","status":"success","artifacts":[%s]}`, mode, artifacts)
	return nil
}

// see tells of the arguments, the workspace and the root directory.
func see() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "args: %s\n", strings.Join(os.Args[1:], " "))
	hello, err := os.ReadFile(filepath.Join(os.Getenv("CABINCREW_WORKSPACE"), "hello.txt"))
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "hello: %s", hello)
	if err := os.WriteFile(filepath.Join(os.Getenv("CABINCREW_WORKSPACE"), "more.txt"), nil, 0o644); err != nil {
		b.WriteString("the workspace is read-only\n")
	}
	if greeting, err := os.ReadFile("/etc/greeting"); err == nil {
		fmt.Fprintf(&b, "greeting: %s", greeting)
	}
	entries, err := os.ReadDir("/")
	for _, e := range entries {
		fmt.Fprintf(&b, "/%s\n", e.Name())
	}
	if err != nil {
		b.WriteString("no root\n")
	}
	return b.String(), nil
}
