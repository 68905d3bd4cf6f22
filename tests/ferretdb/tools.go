//go:build tools

// Package ferretdb exists so that `go mod vendor` fetches FerretDB's program: the wire-protocol
// server that the tests of the MongoDB back end run against. scripts/build-ferretdb.sh builds it.
package ferretdb

import _ "github.com/FerretDB/FerretDB/cmd/ferretdb"
