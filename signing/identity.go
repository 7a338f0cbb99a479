package signing

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// IdentityPolicy is what a certificate must say so that its signatures count.
// Every value is compared exactly: there are no patterns and no prefixes. Issuer
// and either SAN, or SignerURI with SignerDigests, are always needed.
type IdentityPolicy struct {
	// Issuer of the identity token, such as https://token.actions.githubusercontent.com.
	Issuer string
	// SAN is the whole subject alternative name: the Build Signer URI with its
	// @ref, or, for a person, an email address.
	SAN string
	// SignerURI is a Build Signer URI without @ref, for SignerDigests.
	SignerURI string
	// SignerDigests are the full commit ids at which the workflow counts. A name
	// of a branch or tag is none: it would name something else tomorrow. They may
	// be given beside SAN, too.
	SignerDigests []string
	// SourceRepositoryID and OwnerID are the forge's ids, which names do not change:
	// for GitLab the ids of project and namespace. Both are needed for jobs.
	SourceRepositoryID string
	OwnerID            string
	// RunnerEnvironment, such as github-hosted; empty accepts each one.
	RunnerEnvironment string
	// Events are the build triggers that count; none accepts each one.
	Events []string
	// SourceRef is the ref that was built, for GitLab the protected one; empty
	// accepts each one.
	SourceRef string
	// PredicateTypes are those of the statements that it may sign; none means each one.
	PredicateTypes []string
}

// Identity is an IdentityPolicy that pins enough. The zero one matches nothing.
type Identity struct{ p *IdentityPolicy }

// NewIdentity checks that a policy pins an identity.
func NewIdentity(p IdentityPolicy) (Identity, error) {
	if err := p.check(); err != nil {
		return Identity{}, err
	}
	p.SignerDigests, p.Events, p.PredicateTypes = slices.Clone(p.SignerDigests), slices.Clone(p.Events), slices.Clone(p.PredicateTypes)
	return Identity{&p}, nil
}

// Policy gives what the identity pins.
func (i Identity) Policy() IdentityPolicy {
	if i.p == nil {
		return IdentityPolicy{}
	}
	p := *i.p
	p.SignerDigests, p.Events, p.PredicateTypes = slices.Clone(p.SignerDigests), slices.Clone(p.Events), slices.Clone(p.PredicateTypes)
	return p
}

// signs says whether it may sign statements of that type.
func (i Identity) signs(predicateType string) bool {
	return i.p != nil && (len(i.p.PredicateTypes) == 0 || slices.Contains(i.p.PredicateTypes, predicateType))
}

// String names the identity for a person.
func (i Identity) String() string {
	switch {
	case i.p == nil:
		return "no identity"
	case i.p.SAN != "":
		return i.p.SAN + " of " + i.p.Issuer
	}
	return fmt.Sprintf("%s at %d commits of %s", i.p.SignerURI, len(i.p.SignerDigests), i.p.Issuer)
}

func policyError(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, CodeIdentityPolicy, format, args...)
}

func (p *IdentityPolicy) check() error {
	if err := p.checkText(); err != nil {
		return err
	}
	u, err := url.Parse(p.Issuer)
	if p.Issuer == "" || err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return policyError("an identity needs the issuer's URL, not %.100q", p.Issuer).
			WithHint("for GitHub: https://token.actions.githubusercontent.com; for GitLab: the instance's URL")
	}
	if p.person() {
		if p.SourceRepositoryID+p.OwnerID+p.RunnerEnvironment+p.SourceRef != "" || len(p.Events)+len(p.SignerDigests) != 0 {
			return policyError("the identity of a person (%.100q) has no repository, runner, event, ref or commit", p.SAN).
				WithHint("name issuer and san only, or the workflow's URI as san")
		}
		return nil
	}
	if err := p.checkSigner(); err != nil {
		return err
	}
	for _, id := range []struct{ name, value string }{{"source repository id", p.SourceRepositoryID}, {"owner id", p.OwnerID}} {
		if id.value == "" {
			return policyError("the identity of a job needs the %s", id.name).
				WithHint("names change hands, ids do not: give the forge's numeric id")
		}
	}
	return nil
}

// person says whether the SAN is an email address.
func (p *IdentityPolicy) person() bool {
	return p.SignerURI == "" && strings.Contains(p.SAN, "@") && !strings.ContainsAny(p.SAN, ":/")
}

func (p *IdentityPolicy) checkText() error {
	if len(p.SignerDigests) > limits.IdentityValues || len(p.Events) > limits.IdentityValues {
		return policyError("an identity lists more than %d values", limits.IdentityValues).WithHint("split it into several")
	}
	all := append([]string{p.Issuer, p.SAN, p.SignerURI, p.SourceRepositoryID, p.OwnerID, p.RunnerEnvironment, p.SourceRef}, p.Events...)
	for _, text := range all {
		if err := plainFact("identity's value", text); err != nil {
			return policyError("%w", err).WithHint("write it as the certificate has it")
		}
	}
	if slices.Contains(p.Events, "") {
		return policyError("an event of an identity is empty").WithHint("leave events out to accept each one")
	}
	return nil
}

func (p *IdentityPolicy) checkSigner() error {
	switch {
	case (p.SAN == "") == (p.SignerURI == ""):
		return policyError("an identity needs either the whole SAN or the signer's URI with its commits").
			WithHint("san: https://github.com/OWNER/REPO/.github/workflows/FILE@REF, or signer_uri without @REF and signer_digests")
	case p.SAN != "":
		uri, ref, found := strings.Cut(p.SAN, "@")
		if !found || ref == "" || !strings.Contains(uri, "://") {
			return policyError("the SAN %.100q does not pin a ref", p.SAN).WithHint("write it with @REF, as the certificate has it")
		}
	case strings.Contains(p.SignerURI, "@") || !strings.Contains(p.SignerURI, "://"):
		return policyError("the signer's URI %.100q is none without a ref", p.SignerURI).
			WithHint("leave out @REF; the commits say which versions count")
	case len(p.SignerDigests) == 0:
		return policyError("the signer's URI pins no version of the workflow").WithHint("list the commit ids that count as signer_digests")
	}
	for _, d := range p.SignerDigests {
		if !isCommit(d) {
			return policyError("%.100q is not a full commit id", d).WithHint("a branch or a short id may name something else tomorrow: give all 40 (or 64) hex digits")
		}
	}
	return nil
}

func isCommit(s string) bool {
	const sha1Hex, sha256Hex = 40, 64
	raw, err := hex.DecodeString(s)
	return err == nil && (len(s) == sha1Hex || len(s) == sha256Hex) && hex.EncodeToString(raw) == s
}

// factError is where a certificate and an identity part.
type factError struct {
	field, is string
	want      []string
}

// Error implements error.
func (m *factError) Error() string { return m.text() }

// Fact names what differs, without quoting the certificate.
func (m *factError) Fact() string { return m.field }

func (m *factError) text() string {
	want := "wanted " + quoteAll(m.want)
	if m.is == "" {
		return fmt.Sprintf("%s is not stated, %s", m.field, want)
	}
	return fmt.Sprintf("%s is %s, %s", m.field, shown(m.is), want)
}

// shown gives an id as it is and quotes everything else.
func shown(s string) string {
	const most = 300
	if s != "" && strings.Trim(s, "0123456789") == "" && len(s) <= most {
		return s
	}
	return fmt.Sprintf("%.300q", s)
}

func quoteAll(list []string) string {
	const most = 5
	var out []string
	for i, s := range list {
		if i == most {
			return strings.Join(out, ", ") + fmt.Sprintf(" or %d others", len(list)-most)
		}
		out = append(out, shown(s))
	}
	return strings.Join(out, " or ")
}

// compare gives the first fact that is not as wanted, and how many are as wanted.
func (i Identity) compare(c *Certificate) (bad *factError, good int) {
	if i.p == nil {
		return &factError{field: "identity", is: c.SAN, want: []string{"none"}}, 0
	}
	for _, check := range i.p.checks(c) {
		if len(check.want) == 0 {
			continue
		}
		if !slices.Contains(check.want, check.is) {
			return &check, good
		}
		good++
	}
	return nil, good
}

func (p *IdentityPolicy) checks(c *Certificate) []factError {
	one := func(s string) []string {
		if s == "" {
			return nil
		}
		return []string{s}
	}
	list := []factError{{"issuer", c.Issuer, one(p.Issuer)}}
	if p.person() {
		kind := "a job's certificate"
		if c.Email && !c.isCI() {
			kind = "a person's certificate"
		}
		return append(list, factError{"kind of certificate", kind, []string{"a person's certificate"}},
			factError{"subject alternative name", c.SAN, one(p.SAN)})
	}
	if p.SAN != "" {
		list = append(list, factError{"subject alternative name", c.SAN, one(p.SAN)})
	} else {
		uri, ref, _ := strings.Cut(c.SAN, "@")
		if strings.Contains(ref, "@") || (!strings.HasPrefix(ref, "refs/") && !isCommit(ref)) {
			uri = c.SAN + " (without one ref)" // it could be cut in two ways, or not at all
		}
		list = append(list, factError{"build signer URI without its ref", uri, one(p.SignerURI)})
	}
	return append(list,
		factError{"build signer URI", c.BuildSignerURI, []string{c.SAN}},
		factError{"build signer digest", c.BuildSignerDigest, p.SignerDigests},
		factError{"source repository id", c.SourceRepositoryID, one(p.SourceRepositoryID)},
		factError{"source repository owner id", c.OwnerID, one(p.OwnerID)},
		factError{"runner environment", c.RunnerEnvironment, one(p.RunnerEnvironment)},
		factError{"event", c.BuildTrigger, p.Events},
		factError{"source repository ref", c.SourceRepositoryRef, one(p.SourceRef)},
	)
}

// matchIdentity checks that one of the identities is the certificate's. The error
// is about the one that agrees in most facts.
func matchIdentity(c *Certificate, identities []Identity) error {
	var closest *factError
	most := -1
	for _, i := range identities {
		bad, good := i.compare(c)
		if bad == nil {
			return nil
		}
		if good > most {
			closest, most = bad, good
		}
	}
	if closest == nil {
		return protocol.Errorf(protocol.ExitIntegrity, CodeSignatureUntrusted,
			"signed by %.300q of %.300q, and no certificate's identity is trusted", c.SAN, c.Issuer).
			WithHint("if that workflow may sign this, add its identity to the governance in force")
	}
	others := ""
	if len(identities) > 1 {
		others = fmt.Sprintf(" (the closest of %d identities)", len(identities))
	}
	return protocol.Errorf(protocol.ExitIntegrity, CodeIdentityMismatch, "the certificate's %w%s", closest, others).
		WithHint("somebody or something else signed this; it counts only if the governance in force names that identity")
}
