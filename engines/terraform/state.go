package terraform

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Members of a saved plan.
const (
	zipState  = "tfstate"      // the state as planning refreshed it
	zipBefore = "tfstate-prev" // the state as planning found it
)

// state is what is compared of a state: where it stands, and what is in it.
type state struct {
	serial, lineage string
	resources       map[string]string // digests of instances by address
}

// savedState reads a member of a saved plan.
func savedState(saved []byte, name string) (*state, error) {
	z, err := zip.NewReader(bytes.NewReader(saved), int64(len(saved)))
	if err != nil {
		return nil, badSaved("it is not a saved plan: %w", err)
	}
	i := slices.IndexFunc(z.File, func(f *zip.File) bool { return f.Name == name })
	if i < 0 {
		return nil, badSaved("it has no %s", name)
	}
	in, err := z.File[i].Open()
	if err != nil {
		return nil, badSaved("%s: %w", name, err)
	}
	defer func() { _ = in.Close() }() // only read
	raw, err := kit.ReadBounded(in, limits.TerraformState)
	if err != nil {
		return nil, badSaved("%s: %w", name, err)
	}
	return readState(raw)
}

func badSaved(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitFailure, "terraform_plan_unreadable", "the saved plan: "+format, args...).
		WithHint("plans that are kept elsewhere (the cloud block) or encrypted by OpenTofu cannot be used here")
}

// readState reads a state; no bytes are the state that does not exist yet.
func readState(raw []byte) (*state, error) {
	s := &state{serial: "0", resources: map[string]string{}}
	if len(bytes.TrimSpace(raw)) == 0 {
		return s, nil
	}
	tree, err := protocol.DecodeAny(raw)
	if err != nil {
		return nil, badState("it cannot be read: %w", err)
	}
	m, ok := tree.(map[string]any)
	version, _ := m["version"].(json.Number) // anything else is refused below
	serial, okSerial := m["serial"].(json.Number)
	if !ok || version != "4" || !okSerial {
		return nil, badState("it is not a state of version 4")
	}
	s.serial, s.lineage = serial.String(), text(m["lineage"])
	for _, r := range objectsOf(m["resources"]) {
		base := text(r["type"]) + "." + text(r["name"])
		if r["mode"] == "data" {
			base = "data." + base
		}
		if module := text(r["module"]); module != "" {
			base = module + "." + base
		}
		for _, i := range objectsOf(r["instances"]) {
			s.resources[base+instanceKey(i)] = protocol.Digest([]byte(canonicalKey(i)))
		}
	}
	return s, nil
}

func instanceKey(i map[string]any) string {
	key := ""
	switch k := i["index_key"].(type) {
	case string:
		key = `["` + k + `"]`
	case json.Number:
		key = "[" + k.String() + "]"
	}
	if deposed := text(i["deposed"]); deposed != "" {
		key += " (deposed " + deposed + ")"
	}
	return key
}

func badState(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitFailure, "terraform_state", "the state: "+format, args...).
		WithHint("\"terraform state pull\" shows it")
}

// differences names the resources that are not the same in two states.
func (s *state) differences(now *state) []string {
	all := map[string]bool{}
	for a := range s.resources {
		all[a] = true
	}
	for a := range now.resources {
		all[a] = true
	}
	var out []string
	for _, a := range slices.Sorted(maps.Keys(all)) {
		was, there := s.resources[a]
		is, here := now.resources[a]
		switch {
		case !there:
			out = append(out, a+" (new)")
		case !here:
			out = append(out, a+" (gone)")
		case was != is:
			out = append(out, a+" (changed)")
		}
	}
	return out
}
