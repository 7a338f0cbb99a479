package redact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// trimmed gives a value without what surrounds it and is not part of it for most who
// read it: white space, control characters, a byte-order mark.
func trimmed(value string) string {
	return strings.TrimFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' })
}

// thorough is the length in bytes up to which a value is also looked for with all
// of its bytes escaped, which takes many times its size.
const thorough = 512

// forms gives the spellings of a value, longest first, none twice: as it is;
// percent-encoded as Go, browsers and thorough clients do it, in both cases, and
// that once more; as a JSON string, also ASCII only, with escaped slashes, inside
// another JSON string, and with every character escaped; with HTML entities; in
// hex; in base64 of both alphabets at every alignment, with and without padding; and
// in UTF-16 of both byte orders, of shorter values also in hex and base64.
func forms(value string) [][]byte {
	raw := []byte(value)
	out := [][]byte{raw, []byte(html.EscapeString(value)), []byte(hex.EncodeToString(raw)), []byte(strings.ToUpper(hex.EncodeToString(raw)))}
	for _, p := range percentForms(value) {
		out = append(out, []byte(p), []byte(lowerPercent(p)))
		twice := strings.ReplaceAll(p, "%", "%25")
		out = append(out, []byte(twice), []byte(strings.ReplaceAll(lowerPercent(p), "%", "%25")))
	}
	for _, j := range jsonForms(value) {
		out = append(out, []byte(j))
	}
	out = append(out, allBase64(raw)...)
	for _, wide := range wideForms(value) {
		out = append(out, wide)
		if len(value) > thorough {
			continue
		}
		out = append(out, []byte(hex.EncodeToString(wide)), []byte(strings.ToUpper(hex.EncodeToString(wide))))
		out = append(out, allBase64(wide)...)
	}
	slices.SortFunc(out, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b))
	})
	out = slices.CompactFunc(out, bytes.Equal)
	return slices.DeleteFunc(out, func(p []byte) bool { return len(p) < MinSecret })
}

// wideForms gives a value in UTF-16, little and big endian; of one that is no UTF-8
// each byte is a character.
func wideForms(value string) [][]byte {
	var units []uint16
	if utf8.ValidString(value) {
		units = utf16.Encode([]rune(value))
	} else {
		for i := range len(value) {
			units = append(units, uint16(value[i]))
		}
	}
	var little, big []byte
	for _, u := range units {
		little, big = binary.LittleEndian.AppendUint16(little, u), binary.BigEndian.AppendUint16(big, u)
	}
	return [][]byte{little, big}
}

// allBase64 gives the base64 texts of raw at every alignment, in both alphabets.
func allBase64(raw []byte) [][]byte {
	var out [][]byte
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for shift := range 3 {
			out = append(out, base64Forms(enc, raw, shift)...)
		}
	}
	return out
}

// base64Forms gives the base64 text of raw when it stands shift bytes after a
// group's start: the part that depends on raw alone, and all of it with and
// without padding, as it is where nothing follows.
func base64Forms(enc *base64.Encoding, raw []byte, shift int) [][]byte {
	text := enc.EncodeToString(append(make([]byte, shift), raw...))
	from := 0
	if shift > 0 {
		from = shift + 1
	}
	to := (shift + len(raw)) / 3 * 4
	if from >= to {
		return nil // it shares every group with its neighbours
	}
	return [][]byte{[]byte(text[from:to]), []byte(text[from:]), []byte(strings.TrimRight(text[from:], "="))}
}

// percentForms gives the percent-encoded spellings with capital digits.
func percentForms(value string) []string {
	query := url.QueryEscape(value)
	browser := strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(query)
	out := []string{query, strings.ReplaceAll(query, "+", "%20"), url.PathEscape(value), browser}
	if len(value) > thorough {
		return out
	}
	var all strings.Builder
	for i := range len(value) {
		fmt.Fprintf(&all, "%%%02X", value[i])
	}
	return append(out, all.String())
}

func lowerPercent(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// jsonForms gives the spellings inside a JSON string, without the quotes.
func jsonForms(value string) []string {
	var out []string
	for _, escape := range []bool{true, false} {
		text := jsonString(value, escape)
		out = append(out, text, strings.ReplaceAll(text, "/", `\/`), jsonString(text, escape))
		for _, format := range []string{`\u%04x`, `\u%04X`} {
			out = append(out, escapeUnicode(text, format, func(r rune) bool { return r >= utf8.RuneSelf }))
		}
	}
	if len(value) > thorough {
		return out
	}
	for _, format := range []string{`\u%04x`, `\u%04X`} {
		out = append(out, escapeUnicode(value, format, func(rune) bool { return true }))
	}
	return out
}

func jsonString(value string, escapeHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	if err := e.Encode(value); err != nil {
		return ""
	}
	return string(b.Bytes()[1 : b.Len()-2]) // without quotes and newline
}

func escapeUnicode(text, format string, which func(rune) bool) string {
	var b strings.Builder
	for _, r := range text {
		switch high, low := utf16.EncodeRune(r); {
		case !which(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, format+format, high, low)
		default:
			fmt.Fprintf(&b, format, r)
		}
	}
	return b.String()
}

// line is one line of a secret or of its base64 text.
type line struct {
	text   []byte
	number int
}

// lines gives the lines of a value of several lines (a key file, say), since it is
// often printed line by line, and those of its base64 text at the two customary
// widths, beginning with the value itself.
func lines(value string) []line {
	var out []line
	for i, l := range strings.Split(value, "\n") {
		if l = strings.TrimSpace(l); len(l) >= minLine && l != value {
			out = append(out, line{[]byte(l), i + 1})
			for _, wide := range wideForms(l) {
				out = append(out, line{wide, i + 1})
			}
		}
	}
	text := base64.StdEncoding.EncodeToString([]byte(value))
	for _, width := range []int{64, 76} {
		for i := 0; i < len(text) && len(text) > width; i += width {
			if l := text[i:min(i+width, len(text))]; len(l) >= minLine {
				out = append(out, line{[]byte(l), 1 + strings.Count(value[:i/4*3], "\n")})
			}
		}
	}
	return out
}
