package paths

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// hint is what is known of a text before it is read.
type hint uint8

const (
	// none: nothing is known; what looks like a path is one.
	none hint = iota
	// content: the name or the schema says that it is something else.
	content
	// weak: it may well be a path: what can be one is followed.
	weak
	// link: it may be a path or a URI.
	link
	// diff: it is a patch, which names files in its headers.
	diff
	// strong: it is a path whatever it looks like.
	strong
)

// maxName is how much of the name of a parameter is read, from its end.
const maxName = 64

// wholeNames are names without marks between words.
var wholeNames = map[string]hint{
	"src": strong, "dst": strong, "dest": strong, "destination": strong, "cwd": strong, "chdir": strong, "workdir": strong, "workingdirectory": strong,
	"repopath": strong, "outdir": strong, "basedir": strong, "rootdir": strong, "srcdir": strong, "tmpdir": strong, "subdir": strong, "homedir": strong,
	"oldpath": strong, "newpath": strong, "frompath": strong, "topath": strong, "inputfile": strong, "outputfile": strong,
	"source": weak, "sources": weak, "from": weak, "to": weak, "target": weak, "targets": weak, "root": weak, "roots": weak, "workspace": weak,
	"workspaces": weak, "repo": weak, "repository": weak, "project": weak, "location": weak, "input": weak, "output": weak, "out": weak,
	"attachment": weak, "attachments": weak, "archive": weak, "image": weak, "document": weak, "script": weak, "module": weak,
	"include": weak, "exclude": weak, "glob": weak, "globs": weak, "save": weak, "saveas": weak, "base": weak, "prefix": weak, "old": weak, "new": weak,
	"uri": link, "uris": link, "url": link, "urls": link, "href": link, "link": link, "ref": weak,
}

// lastWords are what the last word of a name says.
var lastWords = map[string]hint{
	"path": strong, "paths": strong, "file": strong, "files": strong, "filename": strong, "filenames": strong, "filepath": strong, "filepaths": strong,
	"pathname": strong, "pathnames": strong, "dir": strong, "dirs": strong, "dirname": strong, "directory": strong, "directories": strong,
	"folder": strong, "folders": strong, "cwd": strong,
	"patch": diff, "patches": diff, "diff": diff, "diffs": diff,
	"uri": link, "uris": link, "url": link, "urls": link,
	"source": weak, "destination": strong, "target": weak, "root": weak, "workspace": weak, "location": weak,
	"content": content, "contents": content, "text": content, "body": content, "message": content, "code": content, "query": content,
	"description": content, "title": content, "prompt": content, "comment": content, "string": content, "regex": content, "sql": content,
	"html": content, "markdown": content, "summary": content, "instructions": content, "thought": content, "data": content,
}

// fileWords are words of a name that let it be a path.
var fileWords = map[string]bool{
	"path": true, "file": true, "filename": true, "filepath": true, "dir": true, "directory": true, "folder": true, "pathname": true,
}

// nameHint tells from the name of a parameter what its value is.
func nameHint(name string) hint {
	var buf [2*maxName + utf8.UTFMax]byte
	words := lower(buf[:0], name)
	last, before := words, []byte(nil)
	if i := bytes.LastIndexByte(words, '_'); i >= 0 {
		last, before = words[i+1:], words[:i]
	}
	if before == nil {
		if h, ok := wholeNames[string(words)]; ok {
			return h
		}
		return lastWords[string(last)]
	}
	if h := lastWords[string(last)]; h == content && speaksOfPath(before) {
		return weak // path_string is no text, file_text is
	} else if h != none {
		return h
	}
	if h, ok := joined(words); ok {
		return h
	}
	for len(before) > 0 { // file_name, path_prefix, dir_to_list
		word := before
		if i := bytes.LastIndexByte(word, '_'); i >= 0 {
			word, before = word[i+1:], word[:i]
		} else {
			before = nil
		}
		if fileWords[string(word)] {
			if s := string(last); s == "name" || s == "names" {
				return strong
			}
			return weak
		}
	}
	return none
}

// speaksOfPath says whether one of the words is a path, and not only a file.
func speaksOfPath(words []byte) bool {
	for word := range bytes.SplitSeq(words, []byte{'_'}) {
		switch string(word) {
		case "path", "pathname", "filepath", "filename", "directory", "folder":
			return true
		}
	}
	return false
}

// joined looks a name up without the marks between its words.
func joined(words []byte) (hint, bool) {
	var buf [2*maxName + utf8.UTFMax]byte
	flat := buf[:0]
	for _, ch := range words {
		if ch != '_' {
			flat = append(flat, ch)
		}
	}
	h, ok := wholeNames[string(flat)]
	return h, ok
}

// lower gives the words of a name in small letters with "_" between them: filePath,
// file-path and FILE_PATH become file_path.
func lower(out []byte, name string) []byte {
	if len(name) > maxName {
		name = name[len(name)-maxName:]
	}
	for i := range len(name) {
		ch := name[i]
		switch {
		case 'A' <= ch && ch <= 'Z':
			small := i+1 < len(name) && 'a' <= name[i+1] && name[i+1] <= 'z'
			before := i > 0 && ('a' <= name[i-1] && name[i-1] <= 'z' || '0' <= name[i-1] && name[i-1] <= '9')
			upper := i > 0 && 'A' <= name[i-1] && name[i-1] <= 'Z'
			if before || upper && small {
				out = append(out, '_')
			}
			out = append(out, ch+'a'-'A')
		case 'a' <= ch && ch <= 'z', ch >= 0x80:
			out = append(out, ch)
		case '0' <= ch && ch <= '9': // path1 is a path
		default:
			if len(out) > 0 && out[len(out)-1] != '_' {
				out = append(out, '_')
			}
		}
	}
	for len(out) > 0 && out[len(out)-1] == '_' {
		out = out[:len(out)-1]
	}
	return out
}

// formats are what the format of a schema says.
var formats = map[string]hint{
	"path": strong, "file-path": strong, "filepath": strong, "file": strong, "directory-path": strong, "directory": strong, "dir-path": strong,
	"folder": strong, "filename": strong,
	"uri": link, "uri-reference": link, "url": link, "iri": link, "iri-reference": link, "file-uri": link, "uri-template": link,
	"email": content, "idn-email": content, "date": content, "date-time": content, "time": content, "duration": content, "uuid": content,
	"ipv4": content, "ipv6": content, "hostname": content, "idn-hostname": content, "regex": content, "json-pointer": content,
	"diff": diff, "patch": diff,
}

// saysFile says whether a description speaks of a path, a file or a directory.
func saysFile(text string) bool {
	for i := range len(text) {
		if i > 0 && isLetter(text[i-1]) {
			continue
		}
		for _, word := range [...]string{"path", "file", "director", "dir", "folder"} {
			if len(text)-i < len(word) || !strings.EqualFold(text[i:i+len(word)], word) {
				continue
			}
			rest := text[i+len(word):]
			if word == "director" || rest == "" || !isLetter(rest[0]) || rest[0] == 's' || strings.HasPrefix(rest, "name") || strings.HasPrefix(rest, "path") {
				return true
			}
		}
	}
	return false
}

func isLetter(ch byte) bool { return 'a' <= ch|0x20 && ch|0x20 <= 'z' }
