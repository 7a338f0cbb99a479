package workspace

import "path/filepath"

// Remote gives the URL of a remote as the configuration of the repository that dir lies
// in has it, without running git: "" where there is no repository or no such remote.
// The global configuration has no part in it.
func Remote(dir, name string, env map[string]string) (string, error) {
	repo, err := findRepository(dir)
	if repo == nil || err != nil {
		return "", err
	}
	r := configReader{home: env["HOME"], remote: name}
	if err := r.read(filepath.Join(repo.commonDir, "config"), true); err != nil {
		return "", err
	}
	return r.url, nil
}
