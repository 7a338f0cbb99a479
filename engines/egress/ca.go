package egress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// authority signs certificates for the hosts of one run. Its keys are in memory
// only and die with the proxy.
type authority struct {
	rand    io.Reader
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	leafKey *ecdsa.PrivateKey // one for all leaves: they live in the same memory

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

func newAuthority(o Options, hosts rules) (*authority, error) {
	fail := func(err error) (*authority, error) {
		return nil, protocol.Errorf(protocol.ExitFailure, "egress_ca", "making the certificates of the egress proxy: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), o.Rand)
	if err != nil {
		return fail(err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), o.Rand)
	if err != nil {
		return fail(err)
	}
	a := &authority{rand: o.Rand, key: key, leafKey: leafKey, leaves: map[string]*tls.Certificate{}}
	serial, err := a.serial()
	if err != nil {
		return fail(err)
	}
	now := o.Now()
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "CabinCrew egress of one engine run"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(limits.EgressLife), // clocks differ a little
		KeyUsage:              x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	constrain(t, hosts)
	der, err := x509.CreateCertificate(o.Rand, t, t, key.Public(), key)
	if err != nil {
		return fail(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return fail(err)
	}
	return a, nil
}

// constrain limits the authority to the listed hosts, so that it is worth
// nothing elsewhere. A name allows those below it too; DNS constraints cannot
// say less.
func constrain(t *x509.Certificate, hosts rules) {
	t.PermittedDNSDomainsCritical = true
	// A kind without any entry would be unbounded; nobody has a name below .invalid.
	t.PermittedDNSDomains = []string{"invalid"}
	for _, r := range hosts {
		if r.addr.IsValid() {
			ip := r.addr.AsSlice()
			t.PermittedIPRanges = append(t.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(8*len(ip), 8*len(ip))})
		} else {
			t.PermittedDNSDomains = append(t.PermittedDNSDomains, r.host)
		}
	}
	if len(t.PermittedIPRanges) == 0 {
		t.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
	}
}

func (a *authority) serial() (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(a.rand, b[:]); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and never zero
	return new(big.Int).SetBytes(b[:]), nil
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// leaf gives the certificate for exactly this host.
func (a *authority) leaf(p place) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.leaves[p.host]; ok {
		return c, nil
	}
	serial, err := a.serial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "CabinCrew egress"}, // the host is in the alternative names
		NotBefore:    a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if p.addr.IsValid() {
		t.IPAddresses = []net.IP{p.addr.AsSlice()}
	} else {
		t.DNSNames = []string{p.host}
	}
	der, err := x509.CreateCertificate(a.rand, t, a.cert, a.leafKey.Public(), a.key)
	if err != nil {
		return nil, err
	}
	if len(a.leaves) >= limits.EgressLeaves {
		clear(a.leaves) // an engine that walks a wildcard pays with signatures, not with our memory
	}
	c := &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leafKey}
	a.leaves[p.host] = c
	return c, nil
}
