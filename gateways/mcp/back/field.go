package back

import "encoding/base64"

// fieldValue writes a text as the protocol has it in a header field: as it is where that
// is possible, else in base64 between marks.
func fieldValue(s string) string {
	const from, to = "=?base64?", "?="
	plain := s != "" && s[0] != ' ' && s[len(s)-1] != ' '
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] <= '~'
	}
	if plain && (len(s) < len(from) || s[:len(from)] != from) {
		return s
	}
	return from + base64.StdEncoding.EncodeToString([]byte(s)) + to
}
