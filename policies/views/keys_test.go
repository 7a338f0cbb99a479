package views_test

import (
	"testing"

	"github.com/cabincrew/action/policies/views"
)

func TestKeysOnce(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"": true, "a: 1\nb: {a: 1}\n": true, "- {a: 1}\n- {a: 2}\n": true, "a: &x {b: 1}\nc: *x\nd: *x\n": true, "? [1]\n: 1\n? [2]\n: 2\n": true,
		"a: 1\na: 2\n": false, "a: 1\n\"a\": 2\n": false, "x: [{a: 1, a: 1}]\n": false, "a: &x b\n*x : 1\nb: 2\n": false, "a: [\n": false,
	} {
		if err := views.KeysOnce([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
