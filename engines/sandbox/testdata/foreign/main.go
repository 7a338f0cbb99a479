// Program foreign is built for another architecture than the test's. That it says
// something means that this machine executes that architecture's calls.
package main

import "os"

func main() { _, _ = os.Stdout.WriteString("ran\n") }
