// Command gcctl operates a Global Controller. See gcctl --help.
package main

import (
	"os"

	"darktower.example/global-controller/internal/operatorcli"
)

func main() {
	os.Exit(operatorcli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
