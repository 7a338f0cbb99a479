// Package wasm runs a WebAssembly module (WASI preview 1) as an engine. It is a
// program inside the sandbox (`cabincrew engine run wasm MODULE …`), not a sandbox
// itself: the module is confined twice.
//
// It promises:
//
//   - What the module sees is three directories, /workspace (read-only in
//     flight-plan), /artifacts (read-only in take-off) and /tmp, each bounded by an
//     os.Root: no path, symbolic link or rename leads out. Only regular files and
//     directories open; nothing blocks in open. Hard links are refused.
//   - Nothing it sees differs between two runs over the same bytes: the clock
//     starts at Epoch and advances a microsecond per reading, sleeping advances it
//     and waits for nothing, random bytes are a stream seeded by the module's digest
//     and the mode (so they are no source for keys), file times are Epoch, inode
//     numbers are counted, directories are listed in order of names, the environment
//     is sorted. There are no sockets.
//   - Memory, tables, time, output, open files and everything that the module's
//     file claims about itself are bounded (internal/limits); who exceeds a bound is
//     stopped with a message that names it, and exit code 1. A trap is exit code 1
//     with its reason. The module's own exit codes up to 125 pass through; greater
//     ones, which some systems would cut to 8 bits, are 1.
//
// Symbolic links: a link that a module makes must be relative, and must lie and
// point inside its directory. A directory that holds links can be renamed, after
// which they can point elsewhere; nothing here follows them out even then.
//
// A module that can be stopped from inside looks at a flag in every loop, and runs
// 2.5 to 3 times as long for it: on one machine SHA-256 over 64 MiB by a Go module
// took 7.8 s against 2.8 s (0.05 s natively), JSON of 20,000 objects 4.0 s against
// 1.5 s (0.13 s). It is the default all the same: engines are small, and a module
// that is killed from outside leaves no reason. With --timeout 0 the module runs at
// full speed and whoever started this program stops it, by killing it: Go's own
// timers need not run while native code does. Compiling 3.4 MB took 2.4 s; loading
// the same from the cache and running it, 0.1 s.
//
// The compile cache (--cache, or the variable CABINCREW_CACHE_DIR) holds native
// code which is run as it is found, so whoever can write to that directory decides
// what every later reader runs. A module cannot: the directory is none of its three.
// But give a sandbox that runs modules the directory read-only, or one per engine
// digest, and fill a shared one only by --compile-only, which compiles and runs
// nothing. It must lie where no change under review can put files: not in a
// workspace. Without a usable directory the module is compiled each time.
package wasm
