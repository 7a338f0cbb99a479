// Package telemetry gives the program's log: slog records on one writer, every
// text in them redacted, so that no secret value leaves through a log line.
//
// It promises that a level or format that nobody knows is the default (warn,
// text) rather than silence.
package telemetry

import (
	"context"
	"io"
	"log/slog"
)

// Options say how the log looks and what must not be in it.
type Options struct {
	Level  string // debug, info, warn or error; anything else is warn
	JSON   bool   // one JSON object a line instead of key=value text
	Redact func(string) string
}

// New gives a logger that writes to w.
func New(w io.Writer, o Options) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.Level)); err != nil {
		level = slog.LevelWarn
	}
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(w, options)
	if o.JSON {
		h = slog.NewJSONHandler(w, options)
	}
	return slog.New(redacting{h, o.Redact})
}

// redacting removes secret values from every record before the next handler
// formats it. What is no plain value is turned into text first.
type redacting struct {
	slog.Handler
	redact func(string) string
}

// Handle redacts one record.
func (h redacting) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, h.redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

// WithAttrs redacts the attributes that all records will have.
func (h redacting) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return redacting{h.Handler.WithAttrs(clean), h.redact}
}

// WithGroup opens a group.
func (h redacting) WithGroup(name string) slog.Handler {
	return redacting{h.Handler.WithGroup(h.redact(name)), h.redact}
}

func (h redacting) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		members := v.Group()
		clean := make([]slog.Attr, len(members))
		for i, m := range members {
			clean[i] = h.attr(m)
		}
		return slog.Attr{Key: h.redact(a.Key), Value: slog.GroupValue(clean...)}
	case slog.KindBool, slog.KindDuration, slog.KindTime, slog.KindInt64, slog.KindUint64, slog.KindFloat64:
		return slog.Attr{Key: h.redact(a.Key), Value: v}
	}
	return slog.String(h.redact(a.Key), h.redact(v.String()))
}
