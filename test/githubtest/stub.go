package githubtest

import "net/http"

type blob struct{}

func (c *call) forbids(name, kind string) bool                     { return false }
func (c *call) compare() reply                                     { return notFound() }
func (c *call) getBranch() reply                                   { return notFound() }
func (s *Server) serveBlob(w http.ResponseWriter, r *http.Request) {}
