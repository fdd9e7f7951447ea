package operatorcli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"darktower.example/global-controller/internal/fleetsim"
)

// verdictFile is where the verdicts go as JSON.
type verdictFile struct {
	w    io.Writer // nil when nobody wants them
	file *os.File  // nil when it is not ours to close
}

// openVerdicts opens what --json names before anything runs, so that a wrong path does not cost a run. What the file
// holds stays until there are verdicts.
func openVerdicts(path string, stdout io.Writer) (verdictFile, error) {
	switch path {
	case "":
		return verdictFile{}, nil
	case "-":
		return verdictFile{w: stdout}, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666) //nolint:gosec // As os.Create: the umask decides.
	if err != nil {
		return verdictFile{}, wrongUse("--json: %v", err)
	}
	return verdictFile{file, file}, nil
}

// write writes the verdicts and closes the file.
func (v verdictFile) write(verdicts []fleetsim.Verdict) error {
	if v.w == nil {
		return nil
	}
	err := v.empty()
	if err == nil {
		err = fleetsim.WriteJSON(v.w, verdicts)
	}
	if v.file != nil {
		err = errors.Join(err, v.file.Close())
	}
	if err != nil {
		return fmt.Errorf("write --json: %w", err)
	}
	return nil
}

// empty takes out what the file held. A pipe or a device holds nothing, and cannot be cut.
func (v verdictFile) empty() error {
	if v.file == nil {
		return nil
	}
	if info, err := v.file.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	return v.file.Truncate(0)
}
