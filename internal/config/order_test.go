package config

import (
	"errors"
	"slices"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func TestOnly(t *testing.T) {
	t.Parallel()
	steps := func(c *Config) []string {
		var out []string
		for _, s := range c.Steps {
			out = append(out, s.ID)
		}
		return out
	}
	for id, want := range map[string][]string{"a": {"a"}, "c": {"d", "a", "b", "c"}, "e": {"e"}, "b": {"a", "b"}} {
		c := &Config{Steps: []Step{{ID: "e"}, {ID: "d"}, {ID: "a"}, {ID: "b", Needs: []string{"a"}}, {ID: "c", Needs: []string{"b", "d"}}}}
		if err := c.Only(id); err != nil || !slices.Equal(steps(c), want) {
			t.Errorf("only %s: %v %v, want %v", id, steps(c), err, want)
		}
	}
	c := &Config{Steps: []Step{{ID: "a"}}}
	if err := c.Only("x"); !errors.Is(err, protocol.Code("step_unknown")) || len(c.Steps) != 1 {
		t.Errorf("%v", err)
	}
}
