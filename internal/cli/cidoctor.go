package cli

// doctorJob looks for holes in how the repository is set up, with the job's token. It
// sees little of the settings with that: what it does not see is unknown.
func (r *ciRun) doctorJob() error {
	p, err := r.place()
	if err != nil {
		return err
	}
	h, err := r.onGitHub(p.workspace)
	if err != nil {
		return err
	}
	h.token = r.token
	return r.examineGitHub(r.ctx, h, r.flags.output)
}
