package limits

import "time"

// Bounds on models: on a model's file, before a runtime sees it; on the runtime's
// memory; and on the text that one step gives to one model. Going over any of
// them denies.
const (
	OnnxModels    = 16        // models of one configuration
	OnnxFile      = 256 << 20 // bytes of a model's file
	OnnxNodes     = 50_000    // nodes of all graphs of a file
	OnnxTensors   = 50_000    // constants and declared values of a file
	OnnxElements  = 1 << 28   // bytes of one constant or elements of one declared shape
	OnnxNumbers   = 8 << 20   // entries of all attributes' lists of a file
	OnnxDepth     = 4         // graphs within graphs
	OnnxName      = 1 << 10   // bytes of a name or of one string in an attribute
	OnnxText      = 64 << 10  // bytes of a documentation or metadata text
	OnnxRank      = 8         // dimensions of a shape
	OnnxPorts     = 64        // inputs, and outputs, of a graph or a node's few; a node may have OnnxNodePorts
	OnnxNodePorts = 1024      // inputs, and outputs, of a node
	OnnxProperty  = 256       // entries of a file's metadata

	// OnnxMemory is how many bytes of tensors the runtime may hold for one model,
	// weights included.
	OnnxMemory = 512 << 20
	// OnnxProcess is how many bytes the process of a model may take beside its
	// tensors, twice its file and its threads, OnnxThread one of these, and
	// OnnxProgram what it has before the model is loaded.
	OnnxProcess = 256 << 20
	OnnxThread  = 16 << 20
	OnnxProgram = 256 << 20
	OnnxScratch = 4 << 20 // bytes of files that it could write
	// OnnxAhead is how many windows the process of a model holds beside those that it
	// scores, so that it need not wait for each.
	OnnxAhead = 8
	// OnnxRestarts is how often the process of a model is started again after it
	// crashed or had to be ended.
	OnnxRestarts = 3
	// OnnxLoad is how long making one model ready, its trial run included, may take.
	OnnxLoad = 30 * time.Second
	// OnnxTime is the default of how long one model may judge one step, and
	// OnnxTimeMax the most that a configuration may ask for.
	OnnxTime    = 30 * time.Second
	OnnxTimeMax = 10 * time.Minute
	// OnnxGrace is how long a model that was told to stop may take to do so
	// before its process is ended.
	OnnxGrace = 2 * time.Second

	OnnxWindow    = 2048     // default bytes of one window of text
	OnnxOverlap   = 256      // default bytes that a window shares with the one before
	OnnxWindowMin = 64       // bytes; below, a window holds no sentence
	OnnxWindowMax = 64 << 10 // bytes
	OnnxInput     = 64 << 20 // bytes of text that one step gives to one model
	OnnxLabels    = 256      // columns of an output, and rows of a decision table
	OnnxCache     = 1 << 16  // results that are remembered for one model

	OnnxLibrary = 1 << 30 // bytes of the runtime's library
)
