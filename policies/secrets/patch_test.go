package secrets

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
)

func patchOf(files ...policies.PatchFile) policies.Input {
	return policies.Input{Artifacts: []policies.Artifact{{Name: "changes", Role: "evidence", ArtifactType: "patch", Patch: &policies.Patch{Files: files}, Size: 1}}}
}

func TestPatches(t *testing.T) {
	t.Parallel()
	ev := must(t, Options{})
	pat, aws := githubPat(), awsKey()
	pem := strings.Split(strings.TrimSpace(privateKey()), "\n")
	var key []policies.Line
	for i, l := range pem {
		key = append(key, policies.Line{Op: "+", Line: int64(10 + i), Text: l})
	}
	file := func(path string, l ...policies.Line) policies.PatchFile {
		return policies.PatchFile{Op: "modify", Path: path, OldPath: path, Hunks: []policies.Hunk{{NewStart: 1, Lines: l}}}
	}
	for name, tc := range map[string]struct {
		file policies.PatchFile
		want string
	}{
		"added":            {file("a.go", policies.Line{Op: " ", Line: 4, Text: "x"}, policies.Line{Op: "+", Line: 5, Text: "t := " + pat}), "github-pat@added:5:6"},
		"deleted":          {file("a.go", policies.Line{Op: "-", Line: 5, Text: pat}, policies.Line{Op: "+", Line: 5, Text: "none"}), ""},
		"unchanged":        {file("a.go", policies.Line{Op: " ", Line: 5, Text: pat}, policies.Line{Op: "+", Line: 6, Text: "none"}), ""},
		"over lines":       {file("id_rsa", key...), "private-key@added:10:1"},
		"completed":        {file("id_rsa", append([]policies.Line{{Op: " ", Line: 10, Text: pem[0]}}, key[1:]...)...), "private-key@added:10:1"},
		"second hunk":      {policies.PatchFile{Op: "modify", Path: "a", Hunks: []policies.Hunk{{}, {Lines: []policies.Line{{Op: "+", Line: 99, Text: "a " + aws}}}}}, "aws-access-token@added:99:3"},
		"without places":   {policies.PatchFile{Op: "modify", Path: "a", AddedLines: []string{"x", pat}}, "github-pat@added"},
		"path":             {policies.PatchFile{Op: "add", Path: "docs/" + pat + ".md"}, "github-pat@path"},
		"deleted path":     {policies.PatchFile{Op: "delete", Path: "docs/" + pat + ".md"}, ""},
		"key store":        {policies.PatchFile{Op: "add", Path: "conf/store.p12"}, "pkcs12-file@path"},
		"link":             {policies.PatchFile{Op: "add", Path: "l", NewMode: "120000", Hunks: []policies.Hunk{{Lines: []policies.Line{{Op: "+", Line: 1, Text: "/" + aws}}}}}, "aws-access-token@added:1:2"},
		"by the rule path": {file("x.tf", policies.Line{Op: "+", Line: 1, Text: `password = "q8Zr2` + `Lw0vXs71K"`}), "hashicorp-tf-password@added:1:12"},
		// Whoever writes a change chooses its file names.
		"picture":              {file("a.png", policies.Line{Op: "+", Line: 1, Text: pat}), "github-pat@added:1:1"},
		"lock file":            {file("package-lock.json", policies.Line{Op: "+", Line: 1, Text: pat}), "github-pat@added:1:1"},
		"guess":                {file("a.json", policies.Line{Op: "+", Line: 1, Text: `"api_key": "q8Zr2` + `Lw0vXs71Kd9"`}), "generic-api-key@added:1:13"},
		"guess in a lock file": {file("node_modules/package-lock.json", policies.Line{Op: "+", Line: 1, Text: `"api_key": "q8Zr2` + `Lw0vXs71Kd9"`}), "generic-api-key@added:1:13"},
		"guess in a picture":   {file("a.svg", policies.Line{Op: "+", Line: 1, Text: `"api_key": "q8Zr2` + `Lw0vXs71Kd9"`}), "generic-api-key@added:1:13"},
		"guess in a recipe":    {file("a.inc", policies.Line{Op: "+", Line: 1, Text: `SRC_API_KEY="q8Zr2` + `Lw0vXs71Kd9"`}), "generic-api-key@added:1:14"},
		"checksum":             {file("go.sum", policies.Line{Op: "+", Line: 1, Text: "google.golang.org/api v0.17.0 h1:0q95w+VuFtv4PAx4PZVQdBMmYbaCHbnfKaEiDIcVyag="}), ""},
		"checksum and more":    {file("go.sum", policies.Line{Op: "+", Line: 1, Text: "google.golang.org/api v0.17.0 h1:0q95w+VuFtv4PAx4PZVQdBMmYbaCHbnfKaEiDIcVyag= x"}), "generic-api-key@added:1:34"},
		"utf-16":               {file("a.ps1", policies.Line{Op: "+", Line: 1, Text: "\ufffd\ufffd" + string(wideText("$x = 1"))}, policies.Line{Op: "+", Line: 2, Text: "\x00" + string(wideText("$t = '"+pat+"'"))}), "github-pat@added:2:14 UTF-16"},
		"encoded path":         {policies.PatchFile{Op: "add", Path: "docs/" + strings.TrimRight(std("id "+pat), "=") + ".md"}, "github-pat@path base64"},
		"encoded over lines": {
			file("a", policies.Line{Op: "+", Line: 7, Text: std("some text and " + pat)[:40]}, policies.Line{Op: "+", Line: 8, Text: std("some text and " + pat)[40:]}),
			"github-pat@added:7:19 base64",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := judge(t, ev, patchOf(tc.file))
			if got := brief(list); got != tc.want {
				t.Errorf("found %q, want %q", got, tc.want)
			}
			safe(t, list, aws, pat, strings.TrimRight(std("id "+pat), "="))
			for _, f := range list {
				clean := strings.Contains(f.Files[0], "[secret github-pat ") || f.Files[0] == tc.file.Path
				if len(f.Files) != 1 || !clean || f.Artifact != "changes" {
					t.Errorf("files %q of %s", f.Files, f.Artifact)
				}
			}
		})
	}
}

const base85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"

// encode85 is the coding of binary files in patches, the other way round.
func encode85(content []byte) string {
	var b strings.Builder
	for len(content) > 0 {
		n := min(52, len(content))
		letter := byte('A' + n - 1)
		if n > 26 {
			letter = byte('a' + n - 27)
		}
		b.WriteByte(letter)
		for at := 0; at < n; at += 4 {
			var v uint32
			for i := range 4 {
				v <<= 8
				if at+i < n {
					v |= uint32(content[at+i])
				}
			}
			var out [5]byte
			for i := 4; i >= 0; i-- {
				out[i] = base85[v%85]
				v /= 85
			}
			b.Write(out[:])
		}
		b.WriteByte('\n')
		content = content[n:]
	}
	return b.String()
}

func deflate(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// blob gives git's id of a content.
func blob(content string) string {
	return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content)))
}

func TestRawPatches(t *testing.T) {
	t.Parallel()
	ev := must(t, Options{Values: map[string]string{"V": "opensesame"}})
	pat, aws := githubPat(), awsKey()
	zero, one := strings.Repeat("0", 40), strings.Repeat("1", 40)
	content := "\x00\x01" + strings.Repeat("binary ", 30) + pat + "\x00"
	add := "\x00\x7f\x00" + aws + "\x00"
	delta := "\x05\x80\x02" + "\x91\x00\x04" + string(rune(len(add))) + add
	text := "diff --git a/f b/f\nindex " + zero[:7] + "1.." + one[:8] + " 100644\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-" + pat + " opensesame\n+" + aws + "\n"
	literal := "diff --git a/b.bin b/b.bin\nnew file mode 100644\nindex " + zero + ".." + blob(content) + "\nGIT binary patch\n" +
		fmt.Sprintf("literal %d\n", len(content)) + encode85(deflate(t, content)) + "\nliteral 0\n" + encode85(deflate(t, "")) + "\n"
	change := "diff --git a/c.bin b/c.bin\nindex " + strings.Repeat("2", 40) + ".." + one + " 100644\nGIT binary patch\n" +
		fmt.Sprintf("delta %d\n", len(delta)) + encode85(deflate(t, delta)) + "\ndelta 4\n" + encode85(deflate(t, "\x01\x01\x01a")) + "\n"
	file := func(name string, binary bool) policies.PatchFile {
		return policies.PatchFile{Op: "modify", Path: name, Truncated: !binary, Binary: binary}
	}
	for name, tc := range map[string]struct {
		in   policies.Input
		raw  string
		want string
	}{
		"cut off": {patchOf(file("f", false)), text, "value@deleted; aws-access-token@added:2:1"},
		"binary":  {patchOf(file("b.bin", true)), literal, "github-pat@binary:1:213"},
		"delta":   {patchOf(file("c.bin", true)), change, "delta-unread@binary; aws-access-token@binary:1:4"},
		"all":     {patchOf(file("b.bin", true), file("c.bin", true), file("f", false)), literal + change + text, "github-pat@binary:1:213; delta-unread@binary; aws-access-token@binary:1:4; value@deleted; aws-access-token@added:2:1"},
		"damaged": {patchOf(file("f", false)), text + "what is this\n", "unjudged@<nil>"},
		"missing": {patchOf(file("f", false)), "", "unjudged@<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.in.Bodies = quick(map[string]string{"changes": tc.raw}); tc.raw == "" {
				tc.in.Bodies = nil
			}
			list := judge(t, ev, tc.in)
			if got := brief(list); got != tc.want {
				t.Errorf("found %q, want %q", got, tc.want)
				for _, f := range list {
					t.Log(f.Reason)
				}
			}
			safe(t, list, pat, aws)
		})
	}
}
