//go:build !amd64

package sandbox

const onAMD64 = false
