package cli

import "testing"

func TestPathOfTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"RELEASE.md": "RELEASE.md", "./a/b": "a/b", "a//b/": "a/b", "a/../b": "b", "a b/ü": "a b/ü", "a:b": "a:b", "production": "production",
		"": "", ".": "", "..": "", "../x": "", "a/../../x": "", "/etc/passwd": "", "https://example.com/a": "", "s3://bucket/a": "",
		"git@example.com:a/b": "", "a\x00b": "",
	} {
		if got, ok := pathOfTarget(target); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v, want %q", target, got, ok, want)
		}
	}
}
