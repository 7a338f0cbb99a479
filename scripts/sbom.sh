#!/usr/bin/env bash
# Prints what a built program is made of, as CycloneDX 1.6: the modules that Go wrote
# into it, with the hashes of go.sum.
#
#   scripts/sbom.sh PROGRAM VERSION
set -euo pipefail

go version -m -json "$1" | jq -S --arg version "$2" '
  def purl: "pkg:golang/" + .Path + "@" + .Version;
  (if type == "array" then .[0] else . end) as $info
  | {
      bomFormat: "CycloneDX",
      specVersion: "1.6",
      version: 1,
      metadata: {
        component: {
          type: "application", "bom-ref": "cabincrew", name: "cabincrew", version: $version,
          licenses: [{license: {id: "Apache-2.0"}}],
          properties: [
            {name: "go:version", value: $info.GoVersion},
            ($info.Settings // [] | .[] | select(.Key | IN("CGO_ENABLED", "GOARCH", "GOOS", "-trimpath")) | {name: ("go:" + .Key), value: .Value})
          ]
        }
      },
      components: [
        ($info.Deps // [])[] | (.Replace // .)
        | {type: "library", "bom-ref": purl, name: .Path, version: .Version, purl: purl,
           properties: [{name: "go:sum", value: (.Sum // "")}]}
      ]
    }'
