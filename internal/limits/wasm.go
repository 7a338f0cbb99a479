package limits

import "time"

// Bounds of the WebAssembly runtime: on the module's file, because a decoder
// believes the counts in it, and on what the module uses while it runs.
const (
	WasmModule    = 64 << 20                    // bytes of a module's file
	WasmMemory    = 512 << 20                   // default bytes of linear memory
	WasmMemoryMax = 4 << 30                     // bytes that a 32-bit module can address at all
	WasmTimeout   = EngineTimeout - EngineGrace // default; ends before the sandbox does, so that the reason is told
	WasmStop      = 2 * time.Second             // from stopping a module to leaving it behind
	WasmLog       = EngineLog - 64<<10          // bytes of a module's stderr; leaves room for the reason of a failure
	WasmOpenFiles = 1024                        // files and directories that a module holds open
	WasmDirNames  = 1_000_000                   // names held for open directories, all together
	WasmFile      = ArtifactBytes               // bytes that one file may be grown to
	WasmPath      = 4096                        // bytes of a path
	WasmPolls     = 4096                        // subscriptions of one poll
	WasmTrace     = 4 << 10                     // bytes shown of a trap's stack trace

	WasmTables       = 16        // tables of a module
	WasmTableEntries = 1 << 20   // entries that each can grow to, 8 bytes each
	WasmTypes        = 100_000   // function types
	WasmParams       = 1000      // parameters, and results, of one type
	WasmImports      = 1000      // imports; preview 1 has 46 functions
	WasmFunctions    = 500_000   // functions
	WasmGlobals      = 100_000   // globals
	WasmExports      = 100_000   // exports
	WasmName         = 100_000   // bytes of an import's or export's name
	WasmSegments     = 100_000   // element segments, and data segments
	WasmElements     = 4_000_000 // entries of all element segments
	WasmLocals       = 50_000    // local variables of one function
	WasmAllLocals    = 5_000_000 // local variables of all functions
	WasmBody         = 8 << 20   // bytes of one function
)
