package config

import (
	"fmt"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// Storage says where flights are kept beside the state directory.
type Storage struct {
	Flights   string   // dir:PATH or oci:HOST/REPOSITORY; "" for nowhere
	EncryptTo []string // age recipients of state artifacts
}

var recipientForm = lazily(`^age1[a-z0-9]{20,}$`)

func (r *reader) storage(top *object) Storage {
	n, p := top.at("storage")
	o := r.object(n, p, "flights", "encrypt_to")
	return Storage{
		Flights:   o.text("flights", "", storageRef),
		EncryptTo: o.texts("encrypt_to", 0, true, recipient),
	}
}

func recipient(s string) (string, string) {
	if len(s) > limits.StorageRecipient {
		return "is too long", fmt.Sprintf("at most %d bytes", limits.StorageRecipient)
	}
	return matching(recipientForm, "an age recipient")(s)
}

// storageRef accepts a storage, not one flight in it. What the reference says in
// detail is read where it is used.
func storageRef(s string) (string, string) {
	const hint = "write dir:PATH or oci:HOST/REPOSITORY"
	if wrong, hint := plain(s); wrong != "" {
		return wrong, hint
	}
	kind, place, _ := strings.Cut(s, ":")
	switch {
	case len(s) > limits.StorageRef:
		return "is too long", fmt.Sprintf("at most %d bytes", limits.StorageRef)
	case kind != "dir" && kind != "oci" || place == "":
		return fmt.Sprintf("is no storage: %q", short(s)), hint
	case strings.Contains(s, "@sha256:"):
		return fmt.Sprintf("names one flight: %q", short(s)), hint
	}
	return "", ""
}
