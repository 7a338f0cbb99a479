package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/orchestrator"
)

// notify gives a sink for signs of life: on a terminal one line that is
// rewritten, elsewhere one plain line an event. JSON output has it on stderr too.
func (a *app) notify(log *slog.Logger) func(orchestrator.Progress) {
	p := &progress{to: a.err, begin: map[string]time.Time{}}
	if f, ok := a.err.(*os.File); ok && ci.Detect(a.env) == ci.None {
		p.live = term.IsTerminal(int(f.Fd()))
	}
	return func(e orchestrator.Progress) {
		log.Debug("progress", "stage", e.Stage, "step", e.Step, "message", e.Message, "done", e.Done, "error", e.Err)
		p.tell(e)
	}
}

type progress struct {
	mu    sync.Mutex
	to    io.Writer
	live  bool
	begin map[string]time.Time
}

func (p *progress) tell(e orchestrator.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	who := e.Step
	if who == "" {
		who = "flight"
	}
	key := e.Stage + "/" + who
	line := fmt.Sprintf("%-9s %s: %s", e.Stage, who, e.Message)
	if e.Done {
		took := time.Since(p.begin[key]).Round(time.Millisecond)
		line = fmt.Sprintf("%-9s %s: %s (%s)", e.Stage, who, e.Message, took)
		if e.Err != nil {
			line = fmt.Sprintf("%-9s %s: failed (%s)", e.Stage, who, took)
		}
	} else {
		p.begin[key] = time.Now()
	}
	format := "%s\n"
	if p.live {
		format = "\r\x1b[K%s"
		if e.Done {
			format += "\n"
		}
	}
	_, _ = fmt.Fprintf(p.to, format, tame(line)) // progress is no result
}
