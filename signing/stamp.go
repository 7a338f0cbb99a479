package signing

import (
	"bytes"
	"encoding/asn1"
	"errors"
)

// stampAnswer is an answer of a time stamping authority (RFC 3161, TimeStampResp).
type stampAnswer struct {
	Status struct{ Code int }
	Token  asn1.RawValue
}

// stampToken is a CMS SignedData in its envelope (RFC 5652, 5.1), as far as its
// signature does not reach.
type stampToken struct {
	Type    asn1.ObjectIdentifier
	Content struct {
		Version      int
		Digests      []asn1.RawValue `asn1:"set"`
		Encapsulated struct {
			Type asn1.ObjectIdentifier
			Info []byte `asn1:"explicit,tag:0"`
		}
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		Revocations  asn1.RawValue `asn1:"optional,tag:1"`
		Signers      []stampSigner `asn1:"set"`
	} `asn1:"explicit,tag:0"`
}

type stampSigner struct {
	Version    int
	Who        asn1.RawValue
	Digest     asn1.RawValue
	Attributes asn1.RawValue `asn1:"optional,tag:0"`
	Algorithm  asn1.RawValue
	Signature  []byte
	Unsigned   asn1.RawValue `asn1:"optional,tag:1"`
}

// Versions that RFC 5652 prescribes for a time stamp.
const (
	signedDataVersion = 3
	signerVersion     = 1 // where the signer is named by issuer and serial number
)

// plainStamp gives the answer of a time stamping authority with the status
// "granted" and no text, and refuses what could be changed in it without anybody
// seeing: none of that is signed.
func plainStamp(answer []byte) ([]byte, error) {
	if !wellNested(answer, 0) {
		return nil, errors.New("not an answer of a time stamping authority in DER form")
	}
	var doc struct{ Status, Token asn1.RawValue }
	if rest, err := asn1.Unmarshal(answer, &doc); err != nil || len(rest) != 0 {
		return nil, errors.New("not an answer of a time stamping authority")
	}
	granted := -1
	if _, err := asn1.Unmarshal(doc.Status.Bytes, &granted); err != nil || granted != 0 {
		return nil, errors.New("the time stamping authority did not grant it")
	}
	var token stampToken
	if rest, err := asn1.Unmarshal(doc.Token.FullBytes, &token); err != nil || len(rest) != 0 {
		return nil, errors.New("the time stamp is no CMS SignedData")
	}
	c := token.Content
	if !token.Type.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}) ||
		!c.Encapsulated.Type.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}) {
		return nil, errors.New("the time stamp is no TSTInfo in a CMS SignedData")
	}
	if c.Version != signedDataVersion || len(c.Revocations.FullBytes) != 0 || len(c.Digests) != 1 || len(c.Signers) != 1 {
		return nil, errors.New("the time stamp is not of one signer")
	}
	if s := c.Signers[0]; s.Version != signerVersion || len(s.Unsigned.FullBytes) != 0 || !bytes.Equal(s.Digest.FullBytes, c.Digests[0].FullBytes) {
		return nil, errors.New("the time stamp has attributes or algorithms that are not signed")
	}
	return asn1.Marshal(stampAnswer{Token: asn1.RawValue{FullBytes: doc.Token.FullBytes}})
}

// wellNested says whether the elements of a document fill each other exactly.
// encoding/asn1 and the libraries above it look at some lengths only.
func wellNested(der []byte, depth int) bool {
	const deepest = 32
	if depth > deepest {
		return false
	}
	for len(der) > 0 {
		var element asn1.RawValue
		rest, err := asn1.Unmarshal(der, &element)
		if err != nil || element.IsCompound && !wellNested(element.Bytes, depth+1) {
			return false
		}
		der = rest
	}
	return true
}
