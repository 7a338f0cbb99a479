//go:build linux && !amd64 && !arm64

package inside

// auditArch is 0: there is no filter for this architecture.
const auditArch = 0

func forbiddenHere() []call { return nil }

func modeCallsHere() []modeCall { return nil }

func openCallsHere() []modeCall { return nil }

func commonHere() []call { return nil }

func sysvUse(int64) int64 { return 0 } // there is no tier with a guard
