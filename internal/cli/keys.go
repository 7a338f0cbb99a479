package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/signing"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Make keys that sign plans and approvals"}
	cmd.AddCommand(a.keysGenerateCommand())
	return cmd
}

func (a *app) keysGenerateCommand() *cobra.Command {
	var out, typ string
	var plain bool
	cmd := &cobra.Command{
		Use: "generate --out NAME", Short: "Make a key pair: NAME (private) and NAME.pub", Args: cobra.NoArgs,
		Long: `Makes a key pair in the forms that cosign reads: NAME, the private key, encrypted
with a passphrase (asked for, or CABINCREW_KEY_PASSPHRASE) unless --no-passphrase
is given, and NAME.pub, the public key. Existing files are never overwritten.`,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usageError("usage", "--out says where the keys go").WithHint("cabincrew keys generate --out keys/YOUR-NAME")
			}
			return a.generateKey(cmd.Context(), out, signing.KeyType(typ), plain)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "file of the private key; the public key gets .pub behind it")
	f.StringVar(&typ, "type", string(signing.ECDSAP256), string(signing.ECDSAP256)+" or "+string(signing.Ed25519))
	f.BoolVar(&plain, "no-passphrase", false, "do not encrypt the private key")
	types := []string{string(signing.ECDSAP256), string(signing.Ed25519)}
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(types, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

func (a *app) generateKey(ctx context.Context, out string, typ signing.KeyType, plain bool) error {
	if strings.HasSuffix(out, ".pub") {
		return usageError("usage", "--out names the private key, which must not end in .pub").WithHint("leave .pub away")
	}
	for _, name := range []string{out, out + ".pub"} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return keyExists(name)
		}
	}
	if typ != signing.ECDSAP256 && typ != signing.Ed25519 {
		return usageError("key_generate", "no such key type: %q", typ).WithHint("use %s or %s", signing.ECDSAP256, signing.Ed25519)
	}
	var passphrase []byte
	if !plain {
		var err error
		if passphrase, err = a.newPassphrase(filepath.Base(out)); err != nil {
			return err
		}
	}
	private, public, err := signing.Generate(typ, passphrase, nil)
	if err != nil {
		return err
	}
	key, err := signing.ParsePublic(public)
	if err != nil {
		return err
	}
	if err := writePair(out, private, public); err != nil {
		return err
	}
	return a.tellKey(ctx, out, key, plain)
}

// writePair writes both files or none.
func writePair(out string, private, public []byte) error {
	for _, f := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{{out, private, 0o600}, {out + ".pub", public, 0o644}} {
		err := writeNew(f.name, f.data, f.mode)
		if err == nil {
			continue
		}
		if f.name != out {
			_ = os.Remove(out) // half a pair is of no use; the error below is what counts
		}
		if errors.Is(err, fs.ErrExist) {
			return keyExists(f.name)
		}
		return usageError("key_unwritable", "the key cannot be written: %w", err).At(f.name).
			WithHint("make its directory first, or name another place")
	}
	return nil
}

func keyExists(name string) error {
	return usageError("key_exists", "there is already such a file; keys are never overwritten").At(name).
		WithHint("name another file with --out, or move this one away")
}

// newPassphrase comes from CABINCREW_KEY_PASSPHRASE, or is asked for twice.
func (a *app) newPassphrase(name string) ([]byte, error) {
	if _, ok := a.env["CABINCREW_KEY_PASSPHRASE"]; ok {
		return a.passphrase("")
	}
	if in, ok := a.in.(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, usageError("key_passphrase", "there is no passphrase for the new key, and no terminal to ask for one").
			WithHint("set CABINCREW_KEY_PASSPHRASE, or say --no-passphrase for a key that is not encrypted")
	}
	first, err := a.passphrase("Passphrase for " + oneLine(name) + ": ")
	if err != nil {
		return nil, err
	}
	second, err := a.passphrase("The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, usageError("key_passphrase", "the two passphrases differ").WithHint("run it again")
	}
	return first, nil
}

func (a *app) tellKey(ctx context.Context, out string, key *signing.PublicKey, plain bool) error {
	name, where := filepath.Base(out), a.fromConfig(out+".pub")
	var warnings []string
	switch status, err := gitStatus(ctx, out); {
	case err != nil:
		warnings = append(warnings, "whether git would take the private key into a commit cannot be told: "+err.Error())
	case status == gitTracked, status == gitUntracked:
		warnings = append(warnings, fmt.Sprintf("%s lies in a git work tree and no .gitignore leaves it out; add a line %q to .gitignore, or keep it elsewhere", out, name))
	}
	if plain {
		warnings = append(warnings, "the private key is not encrypted; whoever reads the file can sign with it")
	}
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{
			"private_key": out, "public_key": out + ".pub", "fingerprint": key.Fingerprint(), "type": key.Type(), "encrypted": !plain,
			"warnings": append([]string{}, warnings...),
			"approver": map[string]any{"name": name, "roles": []string{"maintainer", "policy-owner"}, "key": where},
		})
	}
	a.text(fmt.Sprintf("private key  %s (keep it to yourself)\npublic key   %s\nfingerprint  %s\n", oneLine(out), oneLine(out+".pub"), key.Fingerprint()))
	a.text(fmt.Sprintf("\nTo let this key approve, put into the configuration:\n\napprovals:\n  approvers:\n    - name: %s\n      roles: [maintainer, policy-owner]\n      key: %s\n",
		yamlText(name), yamlText(where)))
	for _, w := range warnings {
		_, _ = fmt.Fprintf(a.err, "warning: %s\n", oneLine(w)) // there is nowhere else to tell
	}
	return nil
}

// yamlText quotes what YAML might take for something else than this text.
func yamlText(s string) string {
	plain := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-") == ""
	if plain && strings.Trim(s, "0123456789.-_") != "" && !strings.HasPrefix(s, "-") {
		switch strings.ToLower(s) {
		case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		default:
			return s
		}
	}
	return fmt.Sprintf("%q", s)
}

// fromConfig gives a path as the configuration would name it.
func (a *app) fromConfig(name string) string {
	if p, err := a.place(); err == nil {
		if abs, err := filepath.Abs(name); err == nil {
			if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
				abs = filepath.Join(dir, filepath.Base(abs))
			}
			if rel, err := filepath.Rel(filepath.Dir(p.config), abs); err == nil && filepath.IsLocal(rel) {
				return filepath.ToSlash(rel)
			}
		}
	}
	return "keys/" + filepath.Base(name) // outside: the public key is copied next to the configuration
}

// What git would do with a file.
type gitState int

const (
	gitNone      gitState = iota // the file is in no work tree
	gitIgnored                   // git leaves it out
	gitUntracked                 // the next `git add .` takes it
	gitTracked                   // it is in the index
)

// gitStatus says what git would do with a file, from the index and the .gitignore
// files of its work tree; git itself is not run.
func gitStatus(ctx context.Context, name string) (gitState, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return gitNone, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return gitNone, err
	}
	top := dir
	for {
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			break
		}
		if filepath.Dir(top) == top {
			return gitNone, nil
		}
		top = filepath.Dir(top)
	}
	rel, err := filepath.Rel(top, filepath.Join(dir, filepath.Base(abs)))
	if err != nil {
		return gitNone, err
	}
	only := workspace.Options{Inputs: []string{literalGlob(filepath.ToSlash(rel))}}
	found, err := workspace.Scan(ctx, top, only)
	if err != nil || len(found) == 0 {
		return gitIgnored, err
	}
	// With nothing tracked, a file that is still found is one that no rule ignores;
	// one that is found only by the index is tracked although ignored.
	only.Tracked = []string{}
	loose, err := workspace.Scan(ctx, top, only)
	if err == nil && len(loose) == 0 {
		return gitTracked, nil
	}
	return gitUntracked, err
}

// literalGlob gives a glob that matches one path only.
func literalGlob(p string) string {
	var b strings.Builder
	for _, c := range []byte(p) {
		if strings.IndexByte(`*?[]{}\,!^`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
