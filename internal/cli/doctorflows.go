package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cabincrew/action/ci/codeowners"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
)

// flowFile is a workflow of the checkout.
type flowFile struct {
	*config.Flow

	name string
}

// changeHead finds what names the head of a change: in what a checkout is told, and in
// scripts that fetch it.
var changeHead = regexp.MustCompile(`pull_request\.head|github\.head_ref|workflow_run\.head_|refs/pull/|pull/\$|merge_commit_sha|gh pr checkout`)

// imageDigest is how an image is pinned.
var imageDigest = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)

// files looks at what the checkout holds. Its files are hostile: they are read within
// the workspace, bounded, and not run.
func (d *forgeDoctor) files(configErr error) {
	root, err := os.OpenRoot(d.place.workspace)
	if err != nil {
		for _, k := range fileKinds() {
			d.add(k.id, holeUnknown, "the checkout cannot be read: "+err.Error(), spot{})
		}
		return
	}
	defer func() { _ = root.Close() }()
	d.flows = d.readFlows(root)
	d.planned()
	d.pinned()
	d.forks()
	d.signed(configErr)
	d.owners(root)
}

func (d *forgeDoctor) readFlows(root *os.Root) []flowFile {
	var out []flowFile
	entries, err := fs.ReadDir(root.FS(), workflowDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.add(holeFlows, holeUnknown, "the workflows cannot be read: "+err.Error(), spot{File: workflowDir})
		return nil
	}
	if len(entries) > limits.GitHubFlows {
		d.add(holeFlows, holeUnknown, fmt.Sprintf("there are %d workflows, %d are read", len(entries), limits.GitHubFlows), spot{File: workflowDir})
		entries = entries[:limits.GitHubFlows]
	}
	for _, e := range entries {
		if ext := path.Ext(e.Name()); ext != ".yml" && ext != ".yaml" {
			continue
		}
		name := workflowDir + "/" + e.Name()
		data, err := readIn(root, name, limits.ConfigBytes)
		var flow *config.Flow
		if err == nil {
			flow, err = config.ParseFlow(name, data)
		}
		if err != nil {
			d.add(holeFlows, holeUnknown, "it cannot be read: "+err.Error(), spot{File: name})
			continue
		}
		out = append(out, flowFile{flow, name})
	}
	d.add(holeFlows, holeNone, fmt.Sprintf("%d workflows were read", len(out)), spot{})
	return out
}

// readIn reads a regular file below a root.
func readIn(root *os.Root, name string, most int64) ([]byte, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if info.Size() > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	return root.ReadFile(name)
}

// ofOwn says which of ours a use is of, wherever it is pinned, and by what; of is empty
// if it is none. In the repository of CabinCrew itself it is the copy there.
func ofOwn(use string) (of, ref string) {
	name, ref, _ := strings.Cut(use, "@")
	if local, ok := strings.CutPrefix(name, "./"); ok && strings.HasPrefix(local, workflowDir) {
		name, ref = ownAction+"/"+local, "./"
	}
	switch name = strings.TrimSuffix(name, "/"); name {
	case planFlow, takeOffFlow, ownAction, ownAction + "/" + workflowDir + "/review.yml":
		return name, ref
	}
	return "", ""
}

// planned looks for the workflows that plan and take off.
func (d *forgeDoctor) planned() {
	plans, takesOff, oneJob := spot{}, spot{}, spot{}
	for _, f := range d.flows {
		for _, u := range f.Uses {
			at := spot{f.name, u.Line}
			switch of, _ := ofOwn(u.Name); {
			case of == planFlow && slices.Contains(f.Events, "pull_request"):
				plans = at
			case of == takeOffFlow:
				takesOff = at
			case of == ownAction && slices.Contains(f.Events, "pull_request"):
				plans, takesOff, oneJob = at, at, at
			}
		}
	}
	told := func(id string, at spot, good, bad string) {
		if at.File == "" {
			d.add(id, holeThere, bad, spot{File: workflowDir})
			return
		}
		d.add(id, holeNone, good, at)
	}
	told(holePlans, plans, "pull requests are planned", "no workflow calls flight-plan.yml, or the action, on pull_request")
	told(holeTakesOff, takesOff, "merged changes take off", "no workflow calls take-off.yml")
	if oneJob.File != "" {
		d.add(holeOneJob, holeThere, "one job plans, judges and signs", oneJob)
	} else {
		d.add(holeOneJob, holeNone, "no job does all in one", spot{})
	}
}

// pinned looks at what every use is pinned to.
func (d *forgeDoctor) pinned() {
	for _, f := range d.flows {
		for _, u := range f.Uses {
			id, good := holeOtherUse, strings.HasPrefix(u.Name, "./")
			_, ref, _ := strings.Cut(u.Name, "@")
			if of, own := ofOwn(u.Name); of != "" {
				id, good, ref = holeOwnUse, false, own
			}
			if image, ok := strings.CutPrefix(u.Name, "docker://"); ok {
				good = imageDigest.MatchString(image)
			}
			if good || wholeCommit.MatchString(ref) {
				d.add(id, holeNone, "every one is pinned", spot{})
				continue
			}
			d.add(id, holeThere, u.Name+" is not pinned by a commit", spot{f.name, u.Line})
		}
	}
}

// forks looks for workflows that run with the rights of the base and check out a change.
func (d *forgeDoctor) forks() {
	for _, f := range d.flows {
		base := slices.IndexFunc(f.Events, func(e string) bool {
			return e == "pull_request_target" || e == "workflow_run" || e == "issue_comment"
		})
		if base < 0 {
			continue
		}
		for _, u := range f.Uses {
			if of, _ := ofOwn(u.Name); of != "" && f.Events[base] == "pull_request_target" {
				d.add(holeForkHead, holeThere, "CabinCrew is called on pull_request_target, which it refuses", spot{f.name, u.Line})
			} else if head := u.With["ref"] + " " + u.With["repository"]; changeHead.MatchString(head) {
				d.add(holeForkHead, holeThere, "on "+f.Events[base]+", "+u.Name+" is given "+head, spot{f.name, u.Line})
			}
		}
		for _, r := range f.Runs {
			if strings.Contains(r.Text, "git ") && changeHead.MatchString(r.Text) || strings.Contains(r.Text, "gh pr checkout") {
				d.add(holeForkHead, holeThere, "on "+f.Events[base]+", a script fetches a change", spot{f.name, r.Line})
			}
		}
	}
	d.add(holeForkHead, holeNone, "none was found", spot{})
}

// signed compares whose signatures count with what the workflows call.
func (d *forgeDoctor) signed(configErr error) {
	at := spot{File: d.place.configPath}
	switch {
	case d.config == nil:
		d.add(holeSigning, holeUnknown, "the configuration is not valid: "+configErr.Error(), at)
		return
	case !d.config.Signing.On():
		d.add(holeSigning, holeThere, "nothing is signed", at)
		return
	case !d.config.Signing.Keyless:
		d.add(holeSigning, holeNone, "signed with a key", at)
		return
	}
	for _, f := range d.flows {
		for _, u := range f.Uses {
			of, ref := ofOwn(u.Name)
			if (of == planFlow || of == takeOffFlow) && ref != "./" && !trusts(d.config.Signing.Trusted.Identities, "https://github.com/"+of, ref) {
				d.add(holeSigning, holeThere, "signing.trusted names no identity of "+u.Name, spot{f.name, u.Line})
			}
		}
	}
	d.add(holeSigning, holeNone, "the workflows that are called are those whose signatures count", at)
	for _, i := range d.config.Signing.Trusted.Identities {
		if uri, _, _ := strings.Cut(i.SAN+i.SignerURI, "@"); uri == "https://github.com/"+planFlow && !slices.Equal(i.Signs, []string{config.SignsPlan}) {
			d.add(holeRights, holeThere, "the identity of flight-plan.yml may sign take-offs too", at)
		}
	}
	d.add(holeRights, holeNone, "flight-plan.yml signs plans only", at)
}

// trusts says whether a workflow at a commit, branch or tag is among the identities.
func trusts(list []config.TrustedIdentity, uri, ref string) bool {
	return slices.ContainsFunc(list, func(i config.TrustedIdentity) bool {
		return i.SignerURI == uri && slices.Contains(i.SignerDigests, ref) ||
			i.SAN == uri+"@"+ref || i.SAN == uri+"@refs/tags/"+ref || i.SAN == uri+"@refs/heads/"+ref
	})
}

// owners looks whether what governs has code owners.
func (d *forgeDoctor) owners(root *os.Root) {
	place := ""
	file, err := codeowners.Find(func(name string) ([]byte, bool, error) {
		data, err := readIn(root, name, limits.OwnersBytes)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
		place = name
		return data, err == nil, err
	})
	if err != nil || file == nil {
		detail := "there is none"
		if err != nil {
			detail = err.Error()
		}
		d.add(holeOwnersFile, holeThere, detail, spot{File: place})
		d.add(holeOwnersCover, holeThere, "nobody owns anything", spot{File: place})
		return
	}
	d.add(holeOwnersFile, holeNone, place+" parses", spot{File: place})
	want := []string{d.place.configPath, workflowDir + "/any.yml", place}
	if d.config != nil {
		for _, dir := range slices.Concat(d.config.Policies.Rego, d.config.After.Rego) {
			want = append(want, path.Join(path.Dir(d.place.configPath), dir, "any.rego"))
		}
	}
	for _, name := range want {
		owners, line, err := file.Owners(name)
		switch {
		case err != nil:
			d.add(holeOwnersCover, holeUnknown, name+": "+err.Error(), spot{File: place})
		case len(owners) == 0:
			d.add(holeOwnersCover, holeThere, name+" has no owner", spot{place, line})
		default:
			d.add(holeOwnersCover, holeNone, "configuration, policies and workflows have owners", spot{File: place})
		}
	}
}

// flowEnvironments are the environments that take-offs of the checkout's workflows name.
func (d *forgeDoctor) flowEnvironments() []string {
	var out []string
	for _, f := range d.flows {
		for _, u := range f.Uses {
			name := u.With["environment"]
			if of, _ := ofOwn(u.Name); of != takeOffFlow || name == "" {
				continue
			}
			if strings.Contains(name, "${{") {
				d.add(holeEnvironment, holeUnknown, "only a run tells which environment "+name+" is", spot{f.name, u.Line})
				continue
			}
			out = append(out, name)
		}
	}
	return out
}
