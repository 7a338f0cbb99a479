//go:build !cgo

package inside

// HasRuntime says that this program can run models.
const HasRuntime = false

// start says that there is no runtime in this program.
func start(string) (string, error) { return "", UnsupportedError{} }

// open is there for programs with a runtime.
func open([]byte, Ports) (session, error) { return nil, UnsupportedError{} }
