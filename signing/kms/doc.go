// Package kms signs with keys that a key service holds: hashivault:// (HashiCorp
// Vault's transit engine) in the program itself, awskms://, gcpkms:// and
// azurekms:// through sigstore's KMS plug-ins, programs named sigstore-kms-SCHEME
// on the PATH. The clouds' own libraries would make the program half as large
// again and every start of it slower, for the few who need one of them.
//
// A key must be the one whose public part the caller names: who can point a URI
// somewhere else must not change who signs. No private key is ever read. Address
// and token of Vault come from variables that the caller hands over; a plug-in is a
// program of its own and reads its environment.
package kms
