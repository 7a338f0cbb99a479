package github

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/cabincrew/action/ci"
)

type Options struct {
	BaseURL    string // https://api.github.com where it is empty; with /api/v3 on an own server
	Token      string
	Repository string // owner/name
	HTTP       *http.Client
	Now        func() time.Time
	Sleep      func(context.Context, time.Duration) error
	Rand       io.Reader
	UserAgent  string
}

type Client struct{}

var errTodo = errors.ErrUnsupported

func New(o Options) (*Client, error) { return nil, errTodo }
func (c *Client) Calls() int         { return 0 }
func (c *Client) Repository(ctx context.Context) (Repository, error) {
	return Repository{}, errTodo
}
func (c *Client) Change(ctx context.Context, number int) (Change, error) { return Change{}, errTodo }
func (c *Client) ChangesOf(ctx context.Context, commit string) ([]Change, error) {
	return nil, errTodo
}
func (c *Client) Files(ctx context.Context, number, expect int) ([]File, error) { return nil, errTodo }
func (c *Client) CommitAuthors(ctx context.Context, number, expect int) ([]ci.Person, error) {
	return nil, errTodo
}
func (c *Client) Reviews(ctx context.Context, number int) ([]ci.Act, error) { return nil, errTodo }
func (c *Client) InTeam(ctx context.Context, team string, p ci.Person) (bool, error) {
	return false, errTodo
}
func (c *Client) Permission(ctx context.Context, p ci.Person) (string, error) { return "", errTodo }
func (c *Client) StartCheck(ctx context.Context, k Check) (Check, error)      { return Check{}, errTodo }
func (c *Client) UpdateCheck(ctx context.Context, k Check) (Check, error)     { return Check{}, errTodo }
func (c *Client) Checks(ctx context.Context, sha, name string) ([]Check, error) {
	return nil, errTodo
}
func (c *Client) Comment(ctx context.Context, number int, marker, body string) (string, error) {
	return "", errTodo
}
func (c *Client) OpenIssue(ctx context.Context, marker, title, body string, labels []string) (string, error) {
	return "", errTodo
}
func (c *Client) Run(ctx context.Context, id string) (Run, error)      { return Run{}, errTodo }
func (c *Client) Runs(ctx context.Context, f RunFilter) ([]Run, error) { return nil, errTodo }
func (c *Client) Artifacts(ctx context.Context, runID string) ([]Artifact, error) {
	return nil, errTodo
}
func (c *Client) Download(ctx context.Context, a Artifact, w io.Writer, most int64) error {
	return errTodo
}

type ZipLimits struct {
	Files       int
	Bytes, File int64
	Ratio       int64
}

func Unzip(r io.ReaderAt, size int64, into *os.Root, lim ZipLimits) error { return errTodo }
func (c *Client) RunApprovals(ctx context.Context, runID string) ([]ci.Act, error) {
	return nil, errTodo
}
func (c *Client) Environment(ctx context.Context, name string) (Environment, error) {
	return Environment{}, errTodo
}
func (c *Client) Mark(ctx context.Context, tag, commit, message string) (bool, error) {
	return false, errTodo
}
func (c *Client) Marked(ctx context.Context, tag string) (message string, made bool, err error) {
	return "", false, errTodo
}
func (c *Client) Marks(ctx context.Context, prefix string) (map[string]string, error) {
	return nil, errTodo
}
func (c *Client) PointMark(ctx context.Context, tag, object string) (bool, error) {
	return false, errTodo
}
func (c *Client) Deploy(ctx context.Context, d Deployment) (id string, err error)  { return "", errTodo }
func (c *Client) Deployed(ctx context.Context, id string, s DeploymentState) error { return errTodo }
func (c *Client) Dispatch(ctx context.Context, workflowFile, ref string, inputs map[string]string) error {
	return errTodo
}
func (c *Client) Branch(ctx context.Context, name string) (Branch, error) { return Branch{}, errTodo }
func (c *Client) IsAncestor(ctx context.Context, old, young string) (bool, error) {
	return false, errTodo
}
func (c *Client) Activity(ctx context.Context, ref string) ([]Push, error) { return nil, errTodo }
func (c *Client) Content(ctx context.Context, path, ref string, most int64) (data []byte, found bool, err error) {
	return nil, false, errTodo
}
func (c *Client) Settings(ctx context.Context, branch string) (Settings, error) {
	return Settings{}, errTodo
}
func ParseEvent(name string, payload []byte) (Event, error) { return Event{}, errTodo }

type Runner struct{}

func NewRunner(env map[string]string, w io.Writer) *Runner  { return &Runner{} }
func (r *Runner) Input(name string) string                  { return "" }
func (r *Runner) Output(name, value string) error           { return errTodo }
func (r *Runner) Summary(markdown []byte) error             { return errTodo }
func (r *Runner) Mask(value string)                         {}
func (r *Runner) Group(title string)                        {}
func (r *Runner) EndGroup()                                 {}
func (r *Runner) Annotate(a Annotation)                     {}
func (r *Runner) StopCommands(token string) (resume func()) { return func() {} }
