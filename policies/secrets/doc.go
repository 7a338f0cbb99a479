// Package secrets judges whether artifacts hold secrets: by the rules of
// gitleaks, and by the exact values that the flight maps.
//
// It promises to find exactly what gitleaks' detector finds in a text, several
// times faster; to look also where a text is encoded in base64, hex, percent or
// backslash escapes, up to three times over, or is UTF-16; to name what it found by
// fingerprint and place, never by value; and to deny what it could not read in
// its bounds of size and time.
//
// What the author of a change can write does not silence it: neither
// "gitleaks:allow" comments nor file names that gitleaks passes over. Only lines of
// the form of go.sum are no findings of the rule that guesses: of 178 such files of
// public modules a few dozen lines were, and of other lock files none. Known findings are listed in a baseline, which is
// part of the governance.
//
// Large bodies are read in parts that share limits.SecretOverlap bytes; a secret
// that is longer than that may be told in part, or missed by a rule that must see
// all of it. Text in other encodings than those above is not decoded, nor are
// archives unpacked.
//
// The rules are a copy of those in the module github.com/zricethezav/gitleaks/v8,
// which tests keep identical; importing the module itself would add thirty
// modules and their initialisation to every start of the program.
package secrets
