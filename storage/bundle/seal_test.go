package bundle

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/protocol"
)

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestStateIsEncrypted(t *testing.T) {
	t.Parallel()
	root := tree(t, withState())
	mine, other := identity(t), identity(t)
	temp := t.TempDir()
	archive, p := packed(t, root, PackOptions{Recipients: []age.Recipient{mine.Recipient()}, Temp: temp})
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Error("something was left in the temporary directory", left, err)
	}
	into, q, err := unpack(t.Context(), t, archive)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, q); diff != "" {
		t.Error(diff)
	}
	for name, text := range contents(t, into) {
		if strings.Contains(text, "SECRET") {
			t.Errorf("%s shows the state", name)
		}
	}
	var names []string
	for _, f := range q.Encrypted {
		names = append(names, f.Path)
	}
	if diff := cmp.Diff([]string{"steps/one/artifacts/inline/artifact.json", "steps/one/artifacts/saved/artifact.json", "steps/one/artifacts/saved/saved.bin"}, names); diff != "" {
		t.Error(diff)
	}
	// Nobody's identity, then another's: nothing changes, and it is told.
	for _, ids := range [][]age.Identity{nil, {other}} {
		left, err := Restore(t.Context(), into, ids)
		if err != nil || len(left) != 3 {
			t.Fatal(left, err)
		}
	}
	// What is encrypted already is stored as it is by those who cannot read it.
	if again, _ := packed(t, into, PackOptions{}); !bytes.Equal(again, archive) {
		t.Error("storing it again changed it")
	}
	left, err := Restore(t.Context(), into, []age.Identity{other, mine})
	if err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
	want := contents(t, root)
	delete(want, ".tmp-1-1")
	if diff := cmp.Diff(want, contents(t, into)); diff != "" {
		t.Error(diff)
	}
}

func TestStateDoesNotLeaveInTheClear(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f map[string]string){
		"state": func(map[string]string) {},
		"a role that is unknown": func(f map[string]string) {
			f["steps/one/receipt.json"] = strings.ReplaceAll(receipt, `"state"`, `"other"`)
		},
		"no receipt":       func(f map[string]string) { delete(f, "steps/one/receipt.json") },
		"no right receipt": func(f map[string]string) { f["steps/one/receipt.json"] = "{" },
		"declared twice": func(f map[string]string) {
			f["steps/one/receipt.json"] = strings.Replace(receipt, `"artifacts":[`, `"artifacts":[{"hash":"x","name":"saved","path":"x","role":"evidence"},`, 1)
		},
		"undeclared": func(f map[string]string) { f["steps/one/artifacts/other/saved.bin"] = "SECRET" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := withState()
			change(files)
			root := tree(t, files)
			_, err := Pack(t.Context(), root, &bytes.Buffer{}, PackOptions{Temp: t.TempDir()})
			wantError(t, err, protocol.ExitUsage, "state_unencrypted")
			archive, p := packed(t, root, PackOptions{PlainState: true})
			if len(p.Encrypted) != 0 {
				t.Errorf("%+v", p)
			}
			if _, _, err := unpack(t.Context(), t, archive); err != nil {
				t.Fatal(err)
			}
			archive, p = packed(t, root, PackOptions{Recipients: []age.Recipient{identity(t).Recipient()}})
			into, _, err := unpack(t.Context(), t, archive)
			if err != nil || len(p.Encrypted) < 2 {
				t.Fatalf("%+v %v", p, err)
			}
			for name, text := range contents(t, into) {
				if strings.Contains(text, "SECRET") {
					t.Errorf("%s shows the state", name)
				}
			}
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	id := identity(t)
	const at = "steps/one/artifacts/saved/saved.bin.age"
	for name, change := range map[string]func(root *os.Root) error{
		"a changed byte": func(root *os.Root) error {
			data, err := root.ReadFile(at)
			data[len(data)-1] ^= 1
			return errors.Join(err, root.WriteFile(at, data, 0o600))
		},
		"cut off": func(root *os.Root) error {
			data, err := root.ReadFile(at)
			return errors.Join(err, root.WriteFile(at, data[:len(data)/2], 0o600))
		},
		"another file": func(root *os.Root) error { return root.WriteFile(at, encrypted(id, "other"), 0o600) },
		"a bomb":       func(root *os.Root) error { return root.WriteFile(at, encrypted(id, strings.Repeat("x", 1<<20)), 0o600) },
		"a link":       func(root *os.Root) error { return errors.Join(root.Remove(at), root.Symlink("saved.bin", at)) },
		"a file in its place": func(root *os.Root) error {
			return root.WriteFile(strings.TrimSuffix(at, ".age"), []byte("x"), 0o600)
		},
		"a list that is none": func(root *os.Root) error { return root.WriteFile(SealedFile, []byte("{}"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			archive, _ := packed(t, tree(t, withState()), PackOptions{Recipients: []age.Recipient{id.Recipient()}})
			into, _, err := unpack(t.Context(), t, archive)
			if err == nil {
				err = change(into)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Restore(t.Context(), into, []age.Identity{id}); err == nil {
				t.Error("it was restored")
			}
			if data, err := into.ReadFile("steps/one/artifacts/saved/saved.bin"); err == nil && string(data) != "x" {
				t.Error("something was left")
			}
		})
	}
}

func encrypted(id *age.X25519Identity, text string) []byte {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, id.Recipient())
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestRecipientsAndIdentities(t *testing.T) {
	t.Parallel()
	id := identity(t)
	read := func(name string) ([]byte, error) {
		switch name {
		case "team.txt":
			return []byte("# the team\n" + id.Recipient().String() + "\n"), nil
		case "wrong.txt":
			return []byte("hello"), nil
		}
		return nil, os.ErrNotExist
	}
	got, err := Recipients([]string{id.Recipient().String(), "team.txt"}, read)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	for _, bad := range []string{"age1x", "wrong.txt", "absent.txt"} {
		_, err := Recipients([]string{bad}, read)
		wantError(t, err, protocol.ExitUsage, "storage_encrypt")
	}
	ids, err := Identities([]byte("# mine\n" + id.String() + "\n"))
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	_, err = Identities([]byte("AGE-SECRET-KEY-1SECRET"))
	wantError(t, err, protocol.ExitUsage, "storage_identity")
	if strings.Contains(err.Error(), "SECRET-KEY-1SECRET") {
		t.Error("the error shows the identity")
	}
}

// full takes so many bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	if f.left -= n; n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func TestFullDiskIsNoTampering(t *testing.T) {
	t.Parallel()
	files := withState()
	files["steps/one/artifacts/plan/noise.bin"] = noise(1, 1<<20)
	for _, most := range []int{0, 1, 1000, 500_000, 1 << 20} {
		_, err := Pack(t.Context(), tree(t, files), &full{most}, PackOptions{PlainState: true})
		wantError(t, err, protocol.ExitUnreachable, "storage_unwritable")
	}
}

func TestBothFormsAtOnceAreRefused(t *testing.T) {
	t.Parallel()
	id := identity(t)
	const body = "steps/one/artifacts/saved/saved.bin"
	for name, change := range map[string]func(root *os.Root) error{
		"in the clear too": func(root *os.Root) error { return root.WriteFile(body, []byte("x"), 0o600) },
		"in no form":       func(root *os.Root) error { return root.Remove(body + ".age") },
	} {
		archive, _ := packed(t, tree(t, withState()), PackOptions{Recipients: []age.Recipient{id.Recipient()}})
		into, _, err := unpack(t.Context(), t, archive)
		if err == nil {
			err = change(into)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []PackOptions{{PlainState: true}, {Recipients: []age.Recipient{id.Recipient()}, Temp: t.TempDir()}} {
			if _, err := Pack(t.Context(), into, &bytes.Buffer{}, o); !errors.Is(err, protocol.Code("archive_malformed")) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// Nor is such an archive read.
	sealed := `{"files":[{"digest":"sha256:` + strings.Repeat("a", 64) + `","mode":"0644","path":"steps/x","size":1}],"version":"1"}`
	_, _, err := unpack(t.Context(), t, compress(t, tarOf(t, plainEntry(SealedFile, sealed), dirEntry("steps"), plainEntry("steps/x", "x"), plainEntry("steps/x.age", "x"))))
	wantError(t, err, protocol.ExitIntegrity, "archive_malformed")
	if !strings.Contains(err.Error(), "in the clear, too") {
		t.Error(err)
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	id := identity(t)
	plain := tree(t, withState())
	archive, _ := packed(t, plain, PackOptions{Recipients: []age.Recipient{id.Recipient()}})
	sealed := func() *os.Root {
		into, _, err := unpack(t.Context(), t, archive)
		if err != nil {
			t.Fatal(err)
		}
		return into
	}
	other, _ := packed(t, plain, PackOptions{Recipients: []age.Recipient{id.Recipient()}})
	again, _, err := unpack(t.Context(), t, other)
	if err != nil {
		t.Fatal(err)
	}
	changed := sealed()
	if err := changed.WriteFile("flight.json", []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	less := sealed()
	if err := less.Remove("flight.json"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		a, b *os.Root
		want bool
	}{
		"itself": {plain, plain, true}, "sealed": {plain, sealed(), true}, "plain": {sealed(), plain, true}, "both sealed": {sealed(), sealed(), true},
		"sealed anew": {sealed(), again, false}, "changed": {plain, changed, false}, "less": {plain, less, false}, "more": {less, plain, false},
	} {
		if got, err := Same(t.Context(), c.a, c.b); err != nil || got != c.want {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	to := empty(t)
	if err := Copy(t.Context(), plain, to); err != nil {
		t.Fatal(err)
	}
	want := contents(t, plain)
	delete(want, ".tmp-1-1")
	if diff := cmp.Diff(want, contents(t, to)); diff != "" {
		t.Error(diff)
	}
}

func TestSweepRemovesOursOnly(t *testing.T) {
	t.Parallel()
	root, now := empty(t), time.Now()
	ours := unfinished + rand.Text()
	for _, name := range []string{ours, ".tmp-mynotes", ".tmp-", ours + ".txt"} {
		if err := root.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.Mkdir(unfinished+rand.Text(), 0o700); err != nil {
		t.Fatal(err)
	}
	d := &dirStore{o: Options{Now: func() time.Time { return now.Add(48 * time.Hour) }}}
	d.sweep(root)
	left := contents(t, root)
	if len(left) != 4 {
		t.Errorf("%q", left)
	}
	if _, err := root.Lstat(ours); err == nil {
		t.Error("an unfinished file of ours stays")
	}
}
