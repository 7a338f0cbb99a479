package signingtest

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"

	"github.com/digitorus/timestamp"
)

// Paths of the services.
const (
	PathFulcio    = "/api/v2/signingCert"
	PathTimestamp = "/api/v1/timestamp"
	PathLog       = "/api/v2/log/entries"
)

// Token gives a JWT-shaped text with a subject; its signature is a mere word.
func Token(subject string) string {
	part := func(v any) string {
		raw, _ := json.Marshal(v) //nolint:errchkjson // maps of text
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(map[string]string{"alg": "none"}) + "." + part(map[string]string{"sub": subject}) + "." +
		base64.RawURLEncoding.EncodeToString([]byte("signature of a token"))
}

// Handler serves all three services. Each certificate has these facts, whoever asks;
// the proof of possession must be over the token's subject.
func (a *Authority) Handler(f func() Facts) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PathFulcio, func(w http.ResponseWriter, r *http.Request) { a.serveFulcio(w, r, f()) })
	mux.HandleFunc("POST "+PathTimestamp, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) //nolint:errcheck // a short body does not parse
		request, err := timestamp.ParseRequest(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(a.stamp(request.HashedMessage)) // the test sees a short answer
	})
	mux.HandleFunc("POST "+PathLog, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) //nolint:errcheck // a short body does not parse
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(a.LogEntry(body)) // the test sees a short answer
	})
	return mux
}

func (a *Authority) serveFulcio(w http.ResponseWriter, r *http.Request, f Facts) {
	var request struct {
		PublicKeyRequest struct {
			PublicKey struct {
				Content string `json:"content"`
			} `json:"publicKey"`
			Proof []byte `json:"proofOfPossession"`
		} `json:"publicKeyRequest"`
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	refuse := func() {
		// Services do send back what they were given.
		http.Error(w, "cannot process the token "+token, http.StatusUnauthorized)
	}
	parts := strings.Split(token, ".")
	var claims struct {
		Subject string `json:"sub"`
	}
	const jwtParts = 3
	if len(parts) != jwtParts || json.NewDecoder(r.Body).Decode(&request) != nil {
		refuse()
		return
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	block, _ := pem.Decode([]byte(request.PublicKeyRequest.PublicKey.Content))
	if err != nil || json.Unmarshal(raw, &claims) != nil || block == nil {
		refuse()
		return
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	public, ok := key.(*ecdsa.PublicKey)
	sum := sha256.Sum256([]byte(claims.Subject))
	if err != nil || !ok || claims.Subject == "refused" || !ecdsa.VerifyASN1(public, sum[:], request.PublicKeyRequest.Proof) {
		refuse()
		return
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate(public, f)})
	answer := map[string]any{"signedCertificateDetachedSct": map[string]any{"chain": map[string]any{"certificates": []string{string(leaf)}}}}
	_ = json.NewEncoder(w).Encode(answer) //nolint:errchkjson // the test sees a short answer
}
