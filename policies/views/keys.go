package views

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// KeysOnce refuses YAML in which a key is there twice: readers do not agree which
// one counts.
func KeysOnce(src []byte) error {
	var n yaml.Node
	if err := yaml.Unmarshal(src, &n); err != nil {
		return err
	}
	todo := []*yaml.Node{&n}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], n.Content...) // aliases are not followed
		if n.Kind != yaml.MappingNode {
			continue
		}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind == yaml.AliasNode {
				key = key.Alias
			}
			if key.Kind == yaml.ScalarNode && seen[key.Value] {
				return fmt.Errorf("line %d: the key %q is there twice", n.Content[i].Line, key.Value)
			}
			seen[key.Value] = true
		}
	}
	return nil
}
