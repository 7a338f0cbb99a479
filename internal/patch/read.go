package patch

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// Read reads a patch of unknown origin. It takes exactly what git and Make
// write: no text around the changes, no copies, no submodules, no binary files
// without content. It is our own reader, since go-gitdiff ends a quoted name at
// \\", collapses slashes in names, and passes over lines that it does not know.
func Read(r io.Reader, lim Limits) ([]Change, error) {
	lim = lim.withDefaults()
	data, err := io.ReadAll(io.LimitReader(r, lim.Bytes+1))
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, "patch_io", "the patch cannot be read: %w", err)
	}
	if int64(len(data)) > lim.Bytes {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "patch_invalid", "the patch is larger than %d bytes", lim.Bytes)
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "patch_invalid", "the patch is cut off: its last line has no newline")
	}
	p := reader{rest: data, line: 1, lim: lim}
	var changes []Change
	for len(p.rest) > 0 {
		if len(changes) == lim.Files {
			return nil, p.fail("there are more than %d files", lim.Files)
		}
		c, err := p.change()
		if err != nil {
			return nil, err
		}
		changes = append(changes, *c)
	}
	return changes, checkOnce(changes)
}

// reader goes through a patch line by line, once.
type reader struct {
	rest     []byte
	line     int
	lim      Limits
	hunks    int
	lines    int
	inflated int64
}

func (p *reader) fail(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitIntegrity, "patch_invalid", format, args...).
		At("patch line " + strconv.Itoa(p.line)).
		WithHint("the patch is not in the form of \"git diff --binary --full-index\"; plan again")
}

// peek gives the line at the reader without its newline.
func (p *reader) peek() []byte {
	line, _, _ := bytes.Cut(p.rest, []byte("\n"))
	return line
}

// next goes past a line of n bytes and its newline.
func (p *reader) next(n int) {
	p.rest = p.rest[n+1:]
	p.line++
}

// take gives the rest of the line at the reader if it has this beginning.
func (p *reader) take(prefix string) (string, bool) {
	if !bytes.HasPrefix(p.rest, []byte(prefix)) {
		return "", false
	}
	line := p.peek()
	p.next(len(line))
	return string(line[len(prefix):]), true
}

// header is what the lines between "diff --git" and the content say.
type header struct {
	names                   string // of the diff line
	oldMode, newMode        string
	addMode, deleteMode     string
	from, to                string
	similarity              int
	oldID, newID, indexMode string
}

func (p *reader) change() (*Change, error) {
	h, err := p.header()
	if err != nil {
		return nil, err
	}
	c, err := p.fromHeader(h)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{c.OldPath, c.NewPath} {
		if name == "" {
			continue
		}
		if err := CheckPath(name, p.lim.Protected); err != nil {
			return nil, err
		}
	}
	switch {
	case bytes.HasPrefix(p.rest, []byte("--- ")):
		err = p.text(c)
	case bytes.HasPrefix(p.rest, []byte("GIT binary patch\n")):
		err = p.binary(c)
	}
	if err != nil {
		return nil, err
	}
	return c, p.checkContent(c, h)
}

// headerLines are the lines of a header, in no order, each at most once.
func (h *header) fields() []struct {
	prefix string
	value  *string
} {
	return []struct {
		prefix string
		value  *string
	}{
		{"old mode ", &h.oldMode}, {"new mode ", &h.newMode},
		{"new file mode ", &h.addMode}, {"deleted file mode ", &h.deleteMode},
		{"rename from ", &h.from}, {"rename to ", &h.to},
	}
}

func (p *reader) header() (*header, error) {
	h := &header{similarity: -1}
	var ok bool
	if h.names, ok = p.take("diff --git "); !ok {
		return nil, p.fail("a line that begins with \"diff --git\" is expected")
	}
next:
	for {
		for _, f := range h.fields() {
			v, ok := p.take(f.prefix)
			if !ok {
				continue
			}
			if *f.value != "" || v == "" {
				return nil, p.fail("a %q line is doubled or empty", strings.TrimSpace(f.prefix))
			}
			*f.value = v
			continue next
		}
		if v, ok := p.take("similarity index "); ok {
			n, err := strconv.ParseUint(strings.TrimSuffix(v, "%"), 10, 8)
			if err != nil || n > 100 || h.similarity >= 0 || !strings.HasSuffix(v, "%") {
				return nil, p.fail("the similarity index is doubled or malformed")
			}
			h.similarity = int(n) //nolint:gosec // at most 100
			continue
		}
		v, ok := p.take("index ")
		if !ok {
			return h, nil
		}
		ids, mode, _ := strings.Cut(v, " ")
		oldID, newID, ok := strings.Cut(ids, "..")
		if !ok || !isID(oldID) || !isID(newID) || h.oldID != "" {
			return nil, p.fail("the index line is doubled or malformed")
		}
		h.oldID, h.newID, h.indexMode = oldID, newID, mode
	}
}

// isID says whether s is a SHA-1 blob id or the beginning of one.
func isID(s string) bool {
	return len(s) >= 4 && len(s) <= 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// fromHeader works out operation, names and modes.
func (p *reader) fromHeader(h *header) (*Change, error) {
	c := &Change{OldID: h.oldID, NewID: h.newID}
	if h.from != "" || h.to != "" || h.similarity >= 0 {
		from, okFrom := parseName(h.from)
		to, okTo := parseName(h.to)
		if !okFrom || !okTo || h.similarity < 0 || from == to || h.addMode != "" || h.deleteMode != "" {
			return nil, p.fail("the rename is malformed")
		}
		if h.names != quote("a/"+from)+" "+quote("b/"+to) && h.names != quoteRaw("a/"+from)+" "+quoteRaw("b/"+to) {
			return nil, p.fail("the diff line names other files than the rename")
		}
		c.Op, c.OldPath, c.NewPath = Rename, from, to
	} else {
		name, ok := splitNames(h.names)
		if !ok {
			return nil, p.fail("the names of the diff line are malformed")
		}
		switch {
		case h.addMode != "" && h.deleteMode != "":
			return nil, p.fail("a file is both new and deleted")
		case h.addMode != "":
			c.Op, c.NewPath = Add, name
		case h.deleteMode != "":
			c.Op, c.OldPath = Delete, name
		default:
			c.Op, c.OldPath, c.NewPath = Modify, name, name
		}
	}
	return c, p.setModes(c, h)
}

func (p *reader) setModes(c *Change, h *header) error {
	c.OldMode, c.NewMode = h.oldMode, h.newMode
	switch {
	case c.Op == Add || c.Op == Delete:
		if h.oldMode != "" || h.newMode != "" || h.indexMode != "" {
			return p.fail("a new or deleted file has a changed mode")
		}
		c.OldMode, c.NewMode = h.deleteMode, h.addMode
	case (h.oldMode == "") != (h.newMode == ""):
		return p.fail("an \"old mode\" and a \"new mode\" line belong together")
	case h.oldMode != "" && (h.indexMode != "" || h.oldMode == h.newMode):
		return p.fail("the mode is changed to itself or named twice")
	case h.oldMode == "" && h.oldID != "":
		if h.indexMode == "" {
			return p.fail("the mode of the file is missing in the index line")
		}
		c.OldMode, c.NewMode = h.indexMode, h.indexMode
	case h.oldMode == "" && c.Op == Modify:
		return p.fail("the file is not changed")
	}
	for _, m := range []string{c.OldMode, c.NewMode} {
		if m != "" && m != ModeFile && m != ModeExecutable && m != ModeLink {
			return p.fail("mode %q is none of a file or link (submodules are not supported)", m)
		}
	}
	if c.OldMode != "" && c.NewMode != "" && (c.OldMode == ModeLink) != (c.NewMode == ModeLink) {
		return p.fail("a file cannot become a link in place; it is deleted and added")
	}
	return nil
}

// checkContent compares the content with what the header promised.
func (p *reader) checkContent(c *Change, h *header) error {
	if c.OldID != "" {
		if allZero(c.OldID) != (c.Op == Add) || allZero(c.NewID) != (c.Op == Delete) {
			return p.fail("the index line does not fit a file of this kind")
		}
	}
	if c.hasContent() {
		if c.OldID == "" {
			return p.fail("a changed content has no index line")
		}
		if c.Binary && (c.OldMode == ModeLink || c.NewMode == ModeLink) {
			return p.fail("a link has binary content")
		}
		return nil
	}
	switch {
	case c.Op == Add && !strings.HasPrefix(emptyID, c.NewID), c.Op == Delete && !strings.HasPrefix(emptyID, c.OldID):
		return p.fail("the content of the file is missing")
	case (c.Op == Add || c.Op == Delete) && (c.OldMode == ModeLink || c.NewMode == ModeLink):
		return p.fail("the target of the link is missing")
	case c.Op == Modify && c.OldID != "", c.Op == Rename && (c.OldID != "" || h.similarity != 100):
		return p.fail("the content of the change is missing")
	}
	return nil
}

func allZero(id string) bool { return strings.Trim(id, "0") == "" }

// quoteRaw quotes as git does with core.quotePath off: bytes over 0x7f stay.
func quoteRaw(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '"' || r == '\\' }) {
		var b strings.Builder
		b.WriteByte('"')
		for i := range len(name) {
			if name[i] >= 0x80 {
				b.WriteByte(name[i])
			} else {
				q := quoteAlways(name[i : i+1])
				b.WriteString(q[1 : len(q)-1])
			}
		}
		b.WriteByte('"')
		return b.String()
	}
	return name
}

// checkOnce refuses two changes of one path, but for a file that becomes a link
// or the other way round.
func checkOnce(changes []Change) error {
	seen := map[string]int{}
	for i := range changes {
		c := &changes[i]
		names := []string{c.Path()}
		if c.Op == Rename {
			names = append(names, c.OldPath)
		}
		for _, n := range names {
			j, again := seen[n]
			seen[n] = i
			if !again {
				continue
			}
			d := &changes[j]
			if j == i-1 && d.Op == Delete && c.Op == Add && (d.OldMode == ModeLink) != (c.NewMode == ModeLink) {
				continue
			}
			return protocol.Errorf(protocol.ExitIntegrity, "patch_invalid", "the patch changes one path twice").At(quote(n))
		}
	}
	return nil
}
