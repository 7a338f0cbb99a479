package front

import (
	"errors"
	"net/http"
)

// Local is the principal of clients that need not authenticate.
const Local = "local"

// Principal is an authenticated client.
type Principal struct {
	// Name is what sessions are bound to and policies see as the source.
	Name string
}

// Authenticator says who sent a request. Every request is asked about, also those of
// sessions. An error refuses the request; it is an *Unauthorized where the client
// should be told how to do better.
type Authenticator interface {
	Authenticate(r *http.Request) (Principal, error)
}

// Unauthorized refuses a request.
type Unauthorized struct { //nolint:errname // it is an answer as well as an error
	// Status is 401 if it is zero; 403 is for clients that are known and may not, 503
	// where it cannot be told now.
	Status int
	// Challenge is the value of WWW-Authenticate: `Bearer` with the resource_metadata
	// of RFC 9728. It is sent as it is and must hold no text of the client.
	Challenge string
	// Why is for people; it holds no secret.
	Why string
}

func (u *Unauthorized) Error() string {
	if u.Why == "" {
		return "the client did not authenticate"
	}
	return u.Why
}

// authenticate returns who sent the request, or answers it and says false.
func (d *Door) authenticate(w http.ResponseWriter, r *http.Request) (string, bool) {
	if d.o.Auth == nil {
		return Local, true
	}
	p, err := d.o.Auth.Authenticate(r)
	if err == nil && p.Name != "" {
		return p.Name, true
	}
	u := &Unauthorized{}
	if !errors.As(err, &u) {
		// What another error says may hold parts of a token: it is told to nobody.
		u = &Unauthorized{}
	}
	tell(d.o.Refused, r, "", ReasonUnknown)
	status, challenge := u.Status, u.Challenge
	if status != http.StatusForbidden && status != http.StatusServiceUnavailable {
		status = http.StatusUnauthorized
	}
	if challenge == "" && status == http.StatusUnauthorized {
		challenge = "Bearer"
	}
	if challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	refuse(w, status, "null", codeRefused, u.Error(), nil)
	return "", false
}
