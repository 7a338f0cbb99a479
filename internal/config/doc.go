// Package config reads .cabincrew.yaml.
//
// It promises that a configuration which it hands out is complete and valid:
// every key is known, every type right, every path inside the workspace, every
// step reachable, every default filled in. Whatever is wrong is reported at
// once, each problem with file, line, column and a remedy. The reader is strict
// where YAML is not: one document, no anchors, aliases, merge keys or tags, no
// duplicate keys, YAML 1.2 scalars only (`yes` is text), and everything bounded
// (internal/limits), since the file of a change is written by whoever proposes
// the change.
//
// Resolved and Governance give the forms that are hashed. They hold no time,
// no machine and no map order: the same file gives the same hash everywhere,
// and a change of any setting gives another.
//
// This is the only package that knows YAML.
package config
