// Package signing makes and checks the signed statements of a flight: approvals,
// flight plans and take-offs. A statement is an in-toto Statement v1 about the
// bytes of plan-manifest.json, in a DSSE envelope, in a Sigstore bundle v0.3 with
// the name of a key or with a certificate of Fulcio, so that cosign and other tools
// can check it too.
//
// What it promises:
//
//   - Safe by construction. There is no way to read a statement without a Trust
//     (keys with their windows, identities, a trusted root) and a time, but for
//     one whose name says Insecure. An Identity that does not pin issuer and
//     workflow cannot be made. A certificate needs a time that an authority
//     attests: the current time counts for nothing. The
//     typed readers (VerifyApproval, VerifyFlightPlan, VerifyTakeOff) also need
//     the manifest that the statement must be about.
//   - A bundle has exactly one form: RFC 8785, these fields and no others, strict
//     base64, strict DER, a hint that is the verifying key's. Every changed byte
//     is refused, also one that other verifiers would overlook. Normalize brings
//     bundles of other tools into this form.
//   - Predicates are read from the signed bytes themselves and must have no
//     unknown, missing or null member; numbers that may pass 2^53 are strings.
//   - Nothing of a payload is parsed before its signature holds.
//   - No clock, file or network is touched; what needs a network is in
//     signing/online. Errors are *protocol.Error with a
//     stable code and exit 5 for whatever a signed file may do wrong, exit 2 for
//     what is wrong with a person's own key.
//
// The form of a version never changes: what is signed under approval/v1,
// flight-plan/v1 and take-off/v1 stays readable.
// SPEC: docs/protocol.md 3, 7
package signing
