package rego

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// allowed names the built-in functions that policies may call. It is a list of
// what is allowed, so that a function that a later OPA brings is refused until
// somebody has looked at it. Left out are functions that
//   - reach out or look around: http.send, net.lookup_ip_addr, opa.runtime, and
//     json.match_schema and json.verify_schema, which load $ref from anywhere;
//   - depend on clock, chance or the host's time zones: time.now_ns, rand.intn,
//     uuid.rfc4122, io.jwt.*, crypto.x509.parse_and_verify*, time.date and the
//     like, providers.aws.sign_req;
//   - allocate or run without bound in one call, where no time limit can stop
//     them: bits.lsh, net.cidr_expand, strings.render_template, regex.globs_match,
//     graph.reachable_paths, rego.parse_module, graphql.*.
const allowed = `
abs all and any assign ceil count div eq equal floor gt gte lt lte max min minus mul neq or plus product rem round sort sum
array.concat array.flatten array.reverse array.slice
base64.decode base64.encode base64.is_valid base64url.decode base64url.encode base64url.encode_no_pad
bits.and bits.negate bits.or bits.rsh bits.xor
cast_array cast_boolean cast_null cast_object cast_set cast_string
concat contains endswith format_int indexof indexof_n lower replace split sprintf startswith substring
trim trim_left trim_prefix trim_right trim_space trim_suffix upper
strings.any_prefix_match strings.any_suffix_match strings.count strings.replace_n strings.reverse strings.split_n
crypto.hmac.equal crypto.hmac.sha256 crypto.hmac.sha512 crypto.md5 crypto.sha1 crypto.sha256
glob.match glob.quote_meta graph.reachable hex.decode hex.encode
internal.member_2 internal.member_3 internal.print internal.template_string internal.test_case print trace
intersection union set_diff is_array is_boolean is_null is_number is_object is_set is_string type_name to_number
json.filter json.is_valid json.marshal json.marshal_with_options json.patch json.remove json.unmarshal
net.cidr_contains net.cidr_contains_matches net.cidr_intersects net.cidr_is_valid net.cidr_merge
numbers.range numbers.range_step
object.filter object.get object.keys object.remove object.subset object.union object.union_n
re_match regex.find_all_string_submatch_n regex.find_n regex.is_valid regex.match regex.replace regex.split regex.template_match
rego.metadata.chain rego.metadata.rule semver.compare semver.is_valid
time.parse_duration_ns time.parse_rfc3339_ns
units.parse units.parse_bytes uri.is_valid uri.parse
urlquery.decode urlquery.decode_object urlquery.encode urlquery.encode_object uuid.parse
walk yaml.is_valid yaml.marshal yaml.unmarshal
`

// capabilities gives what policies may use of OPA.
func capabilities() *ast.Capabilities {
	names := strings.Fields(allowed)
	slices.Sort(names)
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		_, ok := slices.BinarySearch(names, b.Name)
		return !ok || b.Nondeterministic
	})
	c.AllowNet = []string{} // nil would mean every host
	return c
}
