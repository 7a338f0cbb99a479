package cli

import (
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/protocol"
)

// githubCommands writes remarks as workflow commands, which GitHub shows beside
// the lines that they are about. What a policy allows is left out.
func githubCommands(list []remark) string {
	var b strings.Builder
	for _, r := range list {
		command := githubLevel(r.Decision)
		if command == "" || r.Change == sarifAbsent {
			continue
		}
		title := r.Rule
		if r.Subject != "" {
			title += " (" + r.Subject + ")"
		}
		var s spot
		if len(r.Spots) > 0 {
			s = r.Spots[0]
		}
		b.WriteString(githubCommand(command, s, title, r.Message))
	}
	return b.String()
}

func githubLevel(d protocol.Decision) string {
	switch d {
	case protocol.Deny:
		return "error"
	case protocol.RequireApproval, protocol.Warn:
		return "warning"
	case protocol.Allow:
	}
	return ""
}

// githubCommand writes one workflow command. Every text in it is foreign.
func githubCommand(command string, s spot, title, message string) string {
	var properties []string
	if s.File != "" {
		properties = append(properties, "file="+githubProperty(s.File))
		if s.Line > 0 {
			properties = append(properties, "line="+strconv.Itoa(s.Line))
		}
	}
	if title != "" {
		properties = append(properties, "title="+githubProperty(title))
	}
	text := "::" + command
	if len(properties) > 0 {
		text += " " + strings.Join(properties, ",")
	}
	return text + "::" + githubData(message) + "\n"
}

// githubData escapes a message: line breaks would end the command, and what is
// invisible would show as something else.
func githubData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(harmless.Unmarked(harmless.Visible(s)))
}

// githubProperty escapes a value, which a comma or a colon would end too.
func githubProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(githubData(s))
}
