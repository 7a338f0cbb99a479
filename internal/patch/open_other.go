//go:build !unix

package patch

import "os"

const openFlags = os.O_RDONLY
