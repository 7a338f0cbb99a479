package test

// module is the path of this module.
const module = "github.com/cabincrew/action"

// room is one line of the table of rooms in docs/architecture.md.
type room struct {
	layer int
	// never names packages that non-test code must not import, although their
	// layer would allow it: in-house ones (with all below them) neither directly
	// nor through others, other ones not in own code.
	never []string
}

// rooms is the whole house. A package that is not here may not exist; a change
// of the house is a change of this table, in the same commit.
func rooms() map[string]room {
	return map[string]room{
		"protocol":            {0, []string{"os", "net", "net/http", "os/exec"}},
		"schemas":             {0, nil},
		"engines/sandbox":     {0, nil},
		"internal/rawjson":    {0, []string{"os", "net", "net/http", "os/exec", "time"}},
		"internal/redact":     {0, nil},
		"internal/limits":     {0, nil},
		"internal/telemetry":  {1, nil},
		"internal/harmless":   {0, []string{"os", "net", "os/exec"}},
		"signing/signingtest": {0, nil},
		"test/githubtest":     {0, nil},
		"examples/github":     {0, []string{"os", "net", "os/exec"}},
		"models":              {0, []string{"os", "net", "os/exec"}},
		"internal/onnxfile":   {0, []string{"os", "os/exec", "net"}},
		"internal/registry":   {0, []string{"os", "os/exec"}},
		"internal/httpwire":   {0, []string{"os", "os/exec"}},

		"engines/sandbox/inside": {0, late()},

		"protocol/plantoken":         {1, []string{"os", "net", "net/http", "os/exec", "io/fs", "path/filepath"}},
		"audit":                      {1, []string{"storage", "orchestrator"}},
		"audit/merkle":               {1, []string{"os", "net", "os/exec"}},
		"signing":                    {1, []string{"ci", "net/http", "os", "os/exec"}},
		"signing/kms":                {1, []string{"ci", "os"}},
		"signing/online":             {1, []string{"ci", "os", "os/exec"}},
		"policies":                   {1, []string{"github.com/open-policy-agent/opa", "github.com/yalue/onnxruntime_go"}},
		"engines":                    {1, engineNever()},
		"engines/process":            {1, engineNever()},
		"engines/wasm":               {1, engineNever()},
		"engines/oci":                {1, engineNever()},
		"engines/kit":                {1, append(engineNever(), "os/exec", "net/http")},
		"engines/egress":             {1, engineNever()},
		"storage/file":               {1, []string{"orchestrator"}},
		"storage/sql":                {1, []string{"orchestrator"}},
		"storage/bundle":             {1, []string{"orchestrator"}},
		"storage/storagetest":        {1, []string{"orchestrator"}},
		"internal/config":            {1, []string{"flag", "github.com/spf13/pflag", "ci"}},
		"internal/workspace":         {1, []string{"os/exec", "net/http"}},
		"internal/workspace/gittree": {1, []string{"os/exec", "net/http"}},
		"internal/patch":             {1, []string{"os/exec", "net/http"}},
		"policies/views":             {1, []string{"os", "os/exec", "net/http"}},
		"policies/onnx/inside":       {1, late()},

		"internal/workspacetest":  {1, nil},
		"internal/patch/artifact": {1, []string{"os", "os/exec", "net/http"}},

		"ci":            {1, []string{"orchestrator", "os", "net/http"}},
		"ci/codeowners": {1, []string{"orchestrator", "os", "net/http"}},

		"engines/command":   {2, engineNever()},
		"engines/git":       {2, engineNever()},
		"engines/terraform": {2, engineNever()},
		"engines/http":      {2, engineNever()},
		"engines/files":     {2, engineNever()},
		"engines/check":     {2, engineNever()},
		"policies/rego":     {2, []string{"net/http"}},
		"policies/onnx":     {2, []string{"net/http"}},
		"policies/secrets":  {2, []string{"net/http"}},
		"policies/rules":    {2, []string{"os", "net/http"}},
		"policies/sources":  {2, []string{"os/exec", "signing", "audit", "orchestrator"}},
		"ci/github":         {2, []string{"orchestrator", "gateways"}},
		"ci/gitlab":         {2, []string{"orchestrator", "gateways"}},
		"ci/gitea":          {2, []string{"orchestrator", "gateways"}},
		"ci/plain":          {2, []string{"orchestrator", "gateways"}},
		"orchestrator":      {2, []string{"ci", "gateways", "storage", "signing", "os/exec", "net/http"}},
		"gateways":          {2, []string{"orchestrator", "ci"}},
		"gateways/identity": {2, []string{"orchestrator", "ci", "os/exec"}},

		"gateways/llm/upstream": {2, []string{"orchestrator", "ci", "os/exec"}},
		"gateways/llm/route":    {1, []string{"os", "net", "net/http", "os/exec", "math/rand", "math/rand/v2"}},
		"gateways/mcp/jsonrpc":  {1, []string{"os", "net", "net/http", "os/exec"}},
		"gateways/llm/frames":   {1, []string{"os", "net", "net/http", "os/exec", "time"}},
		"gateways/mcp/link":     {2, []string{"os", "os/exec"}},
		"gateways/mcp/paths":    {2, []string{"net", "net/http", "os/exec"}},
		"gateways/mcp/pins":     {2, []string{"net", "net/http", "os/exec"}},
		"gateways/llm/wire":     {2, []string{"os", "net", "os/exec", "time"}},

		"gateways/mcp":       {3, []string{"orchestrator"}},
		"gateways/mcp/front": {3, []string{"orchestrator", "os/exec"}},
		"gateways/mcp/back":  {3, []string{"orchestrator"}},
		"gateways/llm":       {3, []string{"orchestrator"}},
		"server":             {3, []string{"gateways", "ci/github", "ci/gitlab", "ci/gitea", "ci/plain"}},

		"internal/cli":  {4, nil},
		"cmd/cabincrew": {5, []string{"github.com/spf13/cobra"}},
	}
}

// parts are rooms that are one half of another: only that one imports them. They take
// over processes early, and so reach nothing of this module but limits.
func parts() map[string]string {
	return map[string]string{"engines/sandbox/inside": "engines/sandbox", "policies/onnx/inside": "policies/onnx"}
}

// late are packages that are initialised after most of the program. The sandbox's
// helper and the process of a model take over before that, so they must not reach
// one, not even through others: see docs/decisions/0012.
func late() []string {
	return []string{"crypto/tls", "crypto/x509", "net", "net/http", "os/exec", "path/filepath", "regexp", "runtime/debug", "text/template"}
}

func engineNever() []string { return []string{"policies", "signing", "audit", "orchestrator"} }

// outsideRooms are directories whose packages are no rooms unless they are in the table:
// nothing imports them.
func outsideRooms() []string {
	return []string{"test", "examples"}
}

// owners names, for a third-party module or package, the only rooms whose
// non-test code may import it. None means: tests only.
func owners() map[string][]string {
	return map[string][]string{
		"github.com/open-policy-agent/opa":           {"policies/rego"},
		"github.com/yalue/onnxruntime_go":            {"policies/onnx/inside"},
		"github.com/zricethezav/gitleaks":            {"policies/secrets"},
		"google.golang.org/protobuf":                 {"internal/onnxfile", "signing", "signing/online", "signing/signingtest"},
		"github.com/sigstore":                        {"signing", "signing/kms", "signing/online", "signing/signingtest"},
		"github.com/secure-systems-lab":              {"signing", "signing/online"},
		"github.com/digitorus":                       {"signing/online", "signing/signingtest"},
		"github.com/in-toto":                         {"signing"},
		"go.yaml.in/yaml":                            {"internal/config", "policies/views"},
		"gopkg.in/yaml.v3":                           {},
		"sigs.k8s.io/yaml":                           {},
		"github.com/santhosh-tekuri/jsonschema":      {"schemas"},
		"github.com/spf13":                           {"internal/cli"},
		"github.com/bluekeyes/go-gitdiff":            {}, // it reads quoted names otherwise than git
		"github.com/aymanbagabas/go-udiff":           {"internal/patch"},
		"github.com/go-git":                          {"internal/workspace", "internal/workspace/gittree", "engines/git", "policies/sources", "test/githubtest"},
		"github.com/google/go-containerregistry":     {"internal/registry", "engines/oci", "storage/bundle"},
		"github.com/klauspost/compress":              {"engines/oci", "storage/bundle"},
		"github.com/tetratelabs/wazero":              {"engines/wasm"},
		"github.com/landlock-lsm/go-landlock":        {}, // docs/decisions/0012
		"github.com/elastic/go-seccomp-bpf":          {}, // as above
		"github.com/seccomp/libseccomp-golang":       {}, // needs cgo
		"golang.org/x/net":                           {"engines/sandbox/inside", "engines/git"},
		"golang.org/x/crypto":                        {"engines/git", "policies/sources"},
		"filippo.io/age":                             {"engines/terraform", "storage/bundle"},
		"github.com/go-jose":                         {"gateways/identity"},
		"github.com/aws":                             {"gateways/llm/upstream"}, // it signs; what looks for credentials would be 3 MB more
		"golang.org/x/oauth2":                        {"gateways/llm/upstream"},
		"go.opentelemetry.io":                        {"internal/telemetry"},
		"github.com/prometheus":                      {"internal/telemetry"},
		"github.com/google/go-github":                {"ci/github"},
		"github.com/gofri/go-github-ratelimit":       {"ci/github"},
		"github.com/sethvargo/go-githubactions":      {"ci/github"},
		"gitlab.com/gitlab-org/api/client-go":        {"ci/gitlab"},
		"code.gitea.io/sdk":                          {"ci/gitea"},
		"github.com/modelcontextprotocol/go-sdk":     {}, // it reads numbers as floats: a peer in tests only
		"github.com/jackc/pgx":                       {"storage/sql"},
		"modernc.org/sqlite":                         {"storage/sql"},
		"github.com/google/go-cmp":                   {},
		"github.com/getkin/kin-openapi":              {"test/githubtest"},
		"github.com/cabincrew/action/test":           {}, // for tests only
		"github.com/yuin/goldmark":                   {}, // it judges reports
		"github.com/rogpeppe/go-internal/testscript": {},
		"go.uber.org/goleak":                         {},
		"pgregory.net/rapid":                         {},
		"github.com/spf13/viper":                     {},
	}
}

// budgets lists all third-party modules that a core package may reach, also
// through others. A new one is a decision: see docs/decisions.
func budgets() map[string][]string {
	const (
		sys        = "golang.org/x/sys"
		net        = "golang.org/x/net" // bpf, which assembles the sandbox's filter; httpproxy in engines/git
		text       = "golang.org/x/text"
		jsonschema = "github.com/santhosh-tekuri/jsonschema/v6"
		yaml       = "go.yaml.in/yaml/v3"
		doublestar = "github.com/bmatcuk/doublestar/v4"
		gogit      = "github.com/go-git/go-git/v5"
		gcfg       = "github.com/go-git/gcfg" // how go-git reads .git/config
		warnings   = "gopkg.in/warnings.v0"   // of gcfg
		udiff      = "github.com/aymanbagabas/go-udiff"

		wazero = "github.com/tetratelabs/wazero" // the one WebAssembly runtime without cgo and without modules of its own

		// engines/oci: how registries authenticate, and the layers that the standard
		// library cannot unpack.
		registry    = "github.com/google/go-containerregistry"
		dockerCLI   = "github.com/docker/cli"                       // of registry: it names the forms of credentials
		dockerCreds = "github.com/docker/docker-credential-helpers" // of docker/cli; no helper is ever run
		ociDigest   = "github.com/opencontainers/go-digest"         // of registry
		logrus      = "github.com/sirupsen/logrus"                  // of docker/cli
		compress    = "github.com/klauspost/compress"               // zstd

		// engines/git: objects, packs and the wire protocol of git, and ssh.
		billy   = "github.com/go-git/go-billy/v5"
		join    = "github.com/cyphar/filepath-securejoin" // of billy
		context = "github.com/jbenet/go-context"          // of go-git
		sha1cd  = "github.com/pjbgf/sha1cd"               // of go-git: SHA-1 that finds collisions
		crypto  = "golang.org/x/crypto"                   // ssh here, the ciphers of age in engines/terraform

		age  = "filippo.io/age"  // state artifacts are encrypted at rest
		hpke = "filippo.io/hpke" // of age
	)
	engine := []string{sys, net, jsonschema, text}
	registryClient := []string{registry, dockerCLI, dockerCreds, ociDigest, logrus, compress}
	return map[string][]string{
		"protocol":                   {},
		"protocol/plantoken":         {},
		"internal/limits":            {},
		"internal/redact":            {},
		"internal/harmless":          {},
		"policies":                   {},
		"policies/rules":             {doublestar},
		"policies/views":             {yaml},
		"ci":                         {},
		"ci/codeowners":              {},
		"policies/sources":           append([]string{sys, yaml, doublestar, gogit, gcfg, warnings, billy, join, context, sha1cd, crypto, net}, registryClient...),
		"audit":                      {},
		"engines/egress":             {}, // what judges an engine's traffic reads it with the standard library alone
		"schemas":                    {jsonschema, text},
		"engines/sandbox":            {sys, net},
		"engines":                    engine,
		"engines/process":            engine,
		"engines/kit":                engine,
		"engines/wasm":               {sys, wazero},
		"engines/oci":                append([]string{sys}, registryClient...),
		"engines/command":            append([]string{doublestar, gogit, gcfg, warnings, udiff}, engine...),
		"engines/files":              append([]string{udiff}, engine...),
		"engines/http":               append([]string{udiff}, engine...),
		"engines/git":                append([]string{gogit, gcfg, warnings, billy, join, context, sha1cd, crypto, udiff}, engine...),
		"engines/terraform":          append([]string{age, hpke, crypto, doublestar, gogit, gcfg, warnings}, engine...),
		"internal/registry":          append([]string{sys}, registryClient...),
		"storage/bundle":             append([]string{age, hpke, crypto, sys}, registryClient...),
		"storage/file":               {sys},
		"internal/config":            {yaml, doublestar},
		"internal/workspace":         {sys, doublestar, gogit, gcfg, warnings},
		"internal/workspace/gittree": {sys, doublestar, gogit, gcfg, warnings, billy, join, context, sha1cd, net}, // sha1cd finds collisions
		"internal/patch":             {udiff},
		"orchestrator":               append([]string{yaml, doublestar, gogit, gcfg, warnings, udiff}, engine...),

		"engines/sandbox/inside": {sys, net},
	}
}

// longestChain is how many packages of this module may import each other in a row.
const longestChain = 7

// inits are the files that may have an init function. It runs before anybody
// asked for anything, so each one is a decision: see docs/decisions/0012.
func inits() []string {
	return []string{"engines/sandbox/inside/helper_linux.go", "policies/onnx/inside/early.go"}
}

// longestMain is how many lines cmd/cabincrew may have.
const longestMain = 20
