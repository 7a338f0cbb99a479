package upstream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cabincrew/action/internal/harmless"
)

// Reason is why there is no answer, or no whole one.
type Reason string

// The reasons.
const (
	Dial      Reason = "dial"       // no connection stood
	TLS       Reason = "tls"        // no TLS stood on it
	FirstByte Reason = "first_byte" // nothing of the answer's body came in time
	Idle      Reason = "idle"       // then nothing more came
	Total     Reason = "total"      // the whole took too long
	Cut       Reason = "cut"        // the connection ended before the answer did
	Status    Reason = "status"     // what came is no answer of HTTP that can be taken
	Redirect  Reason = "redirect"   // the provider sends elsewhere, which is not followed
	Refused   Reason = "refused"    // this side refuses the call, or the provider's address
	TooLarge  Reason = "too_large"  // the answer has more bytes than it may
	Cancelled Reason = "cancelled"  // the caller ended the call, or the client was closed
	Busy      Reason = "busy"       // as many calls as may be are under way
	Key       Reason = "key"        // the key cannot be had
)

// Failure is a call that failed. It never holds the key, nor a text that the provider
// sent with the key in it.
type Failure struct { //nolint:errname // a Failure is what it is; Reason says which
	Provider string
	Reason   Reason
	// Sent is whether any byte of the request may have reached the provider: then to send
	// it again may do twice what it does.
	Sent bool
	Err  error
}

func (f *Failure) Error() string {
	text := fmt.Sprintf("provider %s: %s", f.Provider, words[f.Reason])
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

func (f *Failure) Unwrap() error { return f.Err }

var words = map[Reason]string{
	Dial: "it cannot be reached", TLS: "no TLS connection stands", FirstByte: "it did not begin to answer in time",
	Idle: "it stopped in the middle of its answer", Total: "its answer took too long", Cut: "the connection ended before the answer did",
	Status: "what it sent is no answer", Redirect: "it sends elsewhere, which is not followed; its base URL must be the right one",
	Refused: "the call was not made", TooLarge: "its answer is too large", Cancelled: "the call was ended", Busy: "as many calls as may be are under way",
	Key: "its key cannot be had",
}

// clean makes an error whose text is one harmless line without the key.
func clean(err error, key string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if key != "" {
		text = strings.ReplaceAll(text, key, "[key]")
	}
	const most = 200
	if len(text) > most { // a part of the key could stand at the end
		text = text[:most]
		text = text[:most-partAtEnd(text, key)] + "..."
	}
	return errors.New(harmless.OneLine(text))
}

// partAtEnd says how many bytes at the end of a text are the beginning of the key.
func partAtEnd(text, key string) int {
	for n := min(len(key)-1, len(text)); n > 0; n-- {
		if strings.HasSuffix(text, key[:n]) {
			return n
		}
	}
	return 0
}
