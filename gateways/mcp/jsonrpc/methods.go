package jsonrpc

import "strings"

// Sender says who may send a message.
type Sender int

// The senders; a method may have both.
const (
	FromClient Sender = 1 << iota
	FromServer
)

// Method is what the protocol says of one method.
type Method struct {
	Name         string
	From         Sender
	Notification bool
	// Since and Until are the first and the last revision that have it.
	Since, Until Revision
}

// In says whether a revision has the method; "" asks for any.
func (m Method) In(r Revision) bool { return r == "" || m.Since <= r && r <= m.Until }

// Find gives what the protocol says of a method; false if no revision has it.
func Find(name string) (Method, bool) {
	m, ok := methods[name]
	return m, ok
}

// Misplaced says why a message of a kind cannot have a method, in a few words; "" means
// that it can. A request that comes as a notification, or a method in other case, is
// something else to a strict reader than to a server that does not look closely.
func Misplaced(kind Kind, method string) string {
	if kind != Request && kind != Notification {
		return ""
	}
	known, ok := methods[method]
	if !ok {
		if like, ok := folded[strings.ToLower(method)]; ok {
			return "the method " + like + " is written in another way"
		}
		known.Notification = strings.HasPrefix(method, notifications)
	}
	switch {
	case known.Notification && kind == Request:
		return "a notification has an id"
	case !known.Notification && kind == Notification:
		return "a request has no id"
	}
	return ""
}

// notifications is what the names of all notifications begin with.
const notifications = "notifications/"

// folded are the known methods by their names in small letters. It is never written.
var folded = func() map[string]string {
	m := map[string]string{}
	for name := range methods {
		m[strings.ToLower(name)] = name
	}
	return m
}()

// Methods are all methods of all revisions, in no order.
func Methods() []Method {
	all := make([]Method, 0, len(methods))
	for _, m := range methods {
		all = append(all, m)
	}
	return all
}

const (
	r1 = Revision20241105
	r2 = Revision20250326
	r3 = Revision20250618
	r4 = Revision20251125
	r5 = Revision20260728
)

// methods is never written. Revision 2026-07-28 has no requests of servers: what they
// want to know, they say in results of the type input_required.
var methods = func() map[string]Method {
	m := map[string]Method{}
	for _, one := range []Method{
		{"initialize", FromClient, false, r1, r4},
		{"notifications/initialized", FromClient, true, r1, r4},
		{"ping", FromClient | FromServer, false, r1, r4},
		{"server/discover", FromClient, false, r5, r5},
		{"subscriptions/listen", FromClient, false, r5, r5},
		{"notifications/subscriptions/acknowledged", FromServer, true, r5, r5},

		{"tools/list", FromClient, false, r1, r5},
		{"tools/call", FromClient, false, r1, r5},
		{"prompts/list", FromClient, false, r1, r5},
		{"prompts/get", FromClient, false, r1, r5},
		{"resources/list", FromClient, false, r1, r5},
		{"resources/templates/list", FromClient, false, r1, r5},
		{"resources/read", FromClient, false, r1, r5},
		{"resources/subscribe", FromClient, false, r1, r4},
		{"resources/unsubscribe", FromClient, false, r1, r4},
		{"completion/complete", FromClient, false, r1, r5},
		{"logging/setLevel", FromClient, false, r1, r4},

		{"notifications/tools/list_changed", FromServer, true, r1, r5},
		{"notifications/prompts/list_changed", FromServer, true, r1, r5},
		{"notifications/resources/list_changed", FromServer, true, r1, r5},
		{"notifications/resources/updated", FromServer, true, r1, r5},
		{"notifications/message", FromServer, true, r1, r5},
		{"notifications/progress", FromClient | FromServer, true, r1, r5},
		{"notifications/cancelled", FromClient | FromServer, true, r1, r5},

		{"roots/list", FromServer, false, r1, r4},
		{"notifications/roots/list_changed", FromClient, true, r1, r4},
		{"sampling/createMessage", FromServer, false, r1, r4},
		{"elicitation/create", FromServer, false, r3, r4},
		{"notifications/elicitation/complete", FromServer, true, r4, r5},

		{"tasks/get", FromClient | FromServer, false, r4, r5},
		{"tasks/result", FromClient | FromServer, false, r4, r4},
		{"tasks/list", FromClient | FromServer, false, r4, r4},
		{"tasks/cancel", FromClient | FromServer, false, r4, r5},
		{"tasks/update", FromClient, false, r5, r5},
		{"notifications/tasks/status", FromClient | FromServer, true, r4, r4},
		{"notifications/tasks", FromServer, true, r5, r5},
	} {
		m[one.Name] = one
	}
	return m
}()
