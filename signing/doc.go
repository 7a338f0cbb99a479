// Package signing makes and checks the signed statements of a flight: approvals,
// flight plans and take-offs. A statement is an in-toto Statement v1 about the
// bytes of plan-manifest.json, in a DSSE envelope, in a Sigstore bundle v0.3 with
// public-key material, so that cosign and other tools can check it too.
//
// What it promises:
//
//   - Safe by construction. There is no way to read a statement without naming
//     the keys that are trusted and the time at which they must be valid, and the
//     typed readers (VerifyApproval, VerifyFlightPlan, VerifyTakeOff) also need
//     the manifest that the statement must be about.
//   - A bundle has exactly one form: RFC 8785, these fields and no others, strict
//     base64, strict DER, a hint that is the verifying key's. Every changed byte
//     of the file is refused, also one that other verifiers would overlook.
//   - Predicates are read from the signed bytes themselves and must have no
//     unknown, missing or null member; numbers that may pass 2^53 are strings.
//   - Nothing of a payload is parsed before its signature holds.
//   - No clock, file or network is touched. Errors are *protocol.Error with a
//     stable code and exit 5 for whatever a signed file may do wrong, exit 2 for
//     what is wrong with a person's own key.
//
// The form of a version never changes: what is signed under approval/v1,
// flight-plan/v1 and take-off/v1 stays readable.
// SPEC: docs/protocol.md 3, 7
package signing
