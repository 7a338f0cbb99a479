package schemas

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var dateTime = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))$`)

var errDateTime = errors.New("is not an RFC 3339 time")

// checkDateTime asserts RFC 3339, section 5.6, to the letter: the library's own
// check takes signs within numbers, and time.Parse takes a comma. A leap second
// is a time where it can occur, at 23:59:60 UTC.
func checkDateTime(v any) error {
	s, ok := v.(string)
	if !ok {
		return nil // another keyword judges the type
	}
	m := dateTime.FindStringSubmatch(s)
	if m == nil {
		return errDateTime
	}
	if _, err := time.Parse(time.DateOnly, m[1]); err != nil {
		return errDateTime
	}
	hour, minute, second := number(m[2]), number(m[3]), number(m[4])
	offset := number(m[6])*60 + number(m[7])
	if hour > 23 || minute > 59 || second > 60 || number(m[6]) > 23 || number(m[7]) > 59 {
		return errDateTime
	}
	if m[5] == "-" {
		offset = -offset
	}
	const day = 24 * 60
	if utc := (hour*60 + minute - offset + day) % day; second == 60 && utc != day-1 {
		return errDateTime
	}
	return nil
}

// number reads the two digits that the pattern has matched, or gives 0 for none.
func number(s string) int {
	n, _ := strconv.Atoi(s) // empty where there is no offset
	return n
}

// Numbers are compared exactly, so one with a huge exponent would cost much
// time and memory.
const (
	maxNumberText = 400 // bytes
	maxExponent   = 400 // either sign; a 64-bit float ends at 308
)

// costlyNumber gives the path of a number that is refused before validation.
func costlyNumber(v any) (path string, bad bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			// The smallest path wins, so that map order does not show.
			if inner, found := costlyNumber(member); found && (!bad || "."+name+inner < path) {
				path, bad = "."+name+inner, true
			}
		}
	case []any:
		for i, member := range v {
			if inner, found := costlyNumber(member); found {
				return "[" + strconv.Itoa(i) + "]" + inner, true
			}
		}
	case json.Number:
		return "", costly(string(v))
	}
	return path, bad
}

func costly(number string) bool {
	if len(number) > maxNumberText {
		return true
	}
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return false
	}
	exponent, err := strconv.Atoi(number[i+1:])
	return err != nil || exponent > maxExponent || exponent < -maxExponent
}
