package models_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/onnxfile"
	"github.com/cabincrew/action/models"
)

func TestDigestsAreThoseOfTheModels(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256(models.InstructionInjection())
	if got := hex.EncodeToString(sum[:]); got != models.InstructionInjectionSHA256 {
		t.Errorf("the model has SHA-256 %s, the constant says %s", got, models.InstructionInjectionSHA256)
	}
	card, err := os.ReadFile("instruction-injection.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(card), models.InstructionInjectionSHA256) {
		t.Error("the model card is that of another model")
	}
}

// What comes with the program has to pass the reader that other people's models
// have to pass.
func TestReaderAcceptsTheModel(t *testing.T) {
	t.Parallel()
	info, err := onnxfile.Parse(models.InstructionInjection(), onnxfile.Limits{
		Bytes: 1 << 20, Nodes: 64, Tensors: 64, Elements: 1 << 20, Numbers: 1 << 16,
		Depth: 0, Name: 1 << 10, Text: 1 << 10, Rank: 2, Ports: 1, Inputs: 8, Property: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Inputs) != 1 || info.Inputs[0].Name != "text" || info.Inputs[0].Elem != onnxfile.String || len(info.Inputs[0].Shape) != 1 {
		t.Errorf("inputs %+v, want text [N] of strings", info.Inputs)
	}
	if len(info.Outputs) != 1 || info.Outputs[0].Name != "score" || info.Outputs[0].Elem != onnxfile.Float ||
		len(info.Outputs[0].Shape) != 2 || info.Outputs[0].Shape[1].Size != 2 {
		t.Errorf("outputs %+v, want score [N,2] of floats", info.Outputs)
	}
	for _, p := range []onnxfile.Property{{Key: "labels", Value: "benign,injection"}, {Key: "threshold", Value: "0.75"}} {
		if !slices.Contains(info.Metadata, p) {
			t.Errorf("metadata %+v lacks %+v", info.Metadata, p)
		}
	}
}

// Anybody can make the model again from the texts, byte for byte.
func TestModelIsWhatTheTextsGive(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("../tools/injection/main.go"); err != nil {
		t.Skip("the trainer is not here: ", err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "./injection", "-check")
	cmd.Dir = "../tools"
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestTextsAreSeparateAndMany(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, least := range map[string]int{"injection": 600, "benign": 900} {
		data, err := os.ReadFile("data/" + name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		if len(lines) < least {
			t.Errorf("%s: %d texts, want at least %d", name, len(lines), least)
		}
		for _, line := range lines {
			var text struct{ ID, Family, Kind, Lang, Text string }
			if err := json.Unmarshal([]byte(line), &text); err != nil {
				t.Fatalf("%s: %v: %s", name, err, line)
			}
			key := strings.Join(strings.Fields(strings.ToLower(text.Text)), " ")
			if other, ok := seen[key]; ok {
				t.Errorf("%s has the text of %s", text.ID, other)
			}
			seen[key] = text.ID
		}
	}
}
