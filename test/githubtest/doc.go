// Package githubtest is a fake GitHub for tests: its REST API on loopback, with a state
// of its own and the rules that GitHub has for that state.
//
// Every request and every answer is compared with the description that GitHub publishes
// of its API (make github-api gets it); what breaks it fails the test that started the
// fake, unless the test takes it with Violations. A field of an answer that the
// description demands and the fake has no meaning for is empty, so that a program
// cannot live on made-up values.
//
//	s := githubtest.New(t)                            // or New(t, githubtest.GHES())
//	alice, bob := s.User("alice"), s.User("bob")
//	repo := s.Repo("acme/infra", githubtest.Private()) // GitDir(dir): a real repository
//	root := repo.Commit(githubtest.Commit{Author: alice, Files: map[string]string{"a": "1"}})
//	repo.Push("main", root, alice)
//	pull := repo.Open(githubtest.Opened{Title: "t", Author: alice, Head: "feature"})
//	pull.Review(bob, githubtest.Approved, "fine")
//	token := s.Token(githubtest.Token{Repo: repo, Permissions: githubtest.JobPermissions()})
//	// GITHUB_API_URL is s.URL(); pull.Merge(bob, "squash"), s.Advance(time.Hour) ...
//	s.Fail("pulls/list-reviews", 1, githubtest.Fault{Status: 502, Page: 2})
//	s.Requests()                                      // each call with its operationId
//
// An Issuer gives jobs their identity: issuer.Job(run.Claims("refs/heads/main")) are
// the variables that a job asks with; pull.Payload("opened", alice) is its event.
package githubtest
