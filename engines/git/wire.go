package git

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// receivePack is the service that takes pushes.
const receivePack = "git-receive-pack"

// agent is how this program names itself to a remote.
const agent = "cabincrew"

// readAdvertisement reads what references a remote has.
func readAdvertisement(r io.Reader) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	err := adv.Decode(io.LimitReader(r, limits.GitAdvertisementBytes))
	if err != nil && !errors.Is(err, packp.ErrEmptyAdvRefs) {
		if strings.Contains(err.Error(), "object-format=sha256") { // its ids are longer than the reader takes
			return nil, unsupported("stores objects by SHA-256, not SHA-1")
		}
		return nil, unreachable("the remote's list of references cannot be read: %w", err)
	}
	caps := adv.Capabilities
	if formats := caps.Get("object-format"); len(formats) > 0 && formats[0] != "sha1" {
		return nil, unsupported("stores objects by " + formats[0] + ", not SHA-1")
	}
	if err == nil && !caps.Supports(capability.ReportStatus) {
		return nil, unsupported("does not report whether a push worked")
	}
	return adv, nil
}

func unsupported(what string) *protocol.Error {
	return protocol.Errorf(protocol.ExitFailure, "git_remote_unsupported", "the remote %s", strings.ToValidUTF8(what, "\ufffd")).
		WithHint("push to a repository that git 2 makes by default")
}

func advertised(adv *packp.AdvRefs, ref string) plumbing.Hash { return adv.References[ref] }

// encodeRequest writes what comes before the pack: one command and no more.
func encodeRequest(c command, adv *packp.AdvRefs) ([]byte, *packp.ReferenceUpdateRequest, error) {
	req := packp.NewReferenceUpdateRequest()
	wanted := []capability.Capability{capability.ReportStatus}
	if adv.Capabilities.Supports(capability.Sideband64k) {
		wanted = append(wanted, capability.Sideband64k)
	}
	for _, w := range wanted {
		if err := req.Capabilities.Set(w); err != nil {
			return nil, nil, err
		}
	}
	if adv.Capabilities.Supports(capability.Agent) {
		if err := req.Capabilities.Set(capability.Agent, agent); err != nil {
			return nil, nil, err
		}
	}
	req.Commands = []*packp.Command{{Name: plumbing.ReferenceName(c.ref), Old: c.old, New: c.b.commit}}
	var head bytes.Buffer
	err := req.Encode(&head)
	return head.Bytes(), req, err
}

// readReport reads the remote's answer. Only a plain yes for the one reference is a success.
func readReport(r io.Reader, req *packp.ReferenceUpdateRequest, c command, log io.Writer) error {
	r = io.LimitReader(r, limits.GitReportBytes)
	if req.Capabilities.Supports(capability.Sideband64k) {
		d := sideband.NewDemuxer(sideband.Sideband64k, r)
		d.Progress = log
		r = d
	}
	report := packp.NewReportStatus()
	if err := report.Decode(r); err != nil {
		return unreachable("the remote's answer cannot be read: %w", err)
	}
	_, _ = io.Copy(io.Discard, r) // what hooks say after the report goes into the log; it changes nothing
	if report.UnpackStatus != "ok" {
		return refused("the remote did not take the objects: %s", printable(report.UnpackStatus))
	}
	if len(report.CommandStatuses) != 1 || string(report.CommandStatuses[0].ReferenceName) != c.ref {
		return refused("the remote answered for another reference than %s", c.ref)
	}
	if status := report.CommandStatuses[0].Status; status != "ok" {
		return refused("the remote refused to move %s: %s", c.ref, printable(status))
	}
	return nil
}

// printable makes a remote's words fit for a message.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	return text[:min(len(text), 300)]
}
