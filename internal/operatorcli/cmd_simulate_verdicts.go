package operatorcli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"darktower.example/global-controller/internal/fleetsim"
)

// verdictFile is the destination of the verdicts as JSON.
type verdictFile struct {
	// w is nil if no JSON is requested.
	w io.Writer
	// file is w if it has to be closed, and nil for standard output.
	file *os.File
}

// openVerdictFile opens the file of --json. Its content stays until the verdicts are written.
func openVerdictFile(path string, stdout io.Writer) (verdictFile, error) {
	switch path {
	case "":
		return verdictFile{}, nil
	case "-":
		return verdictFile{w: stdout}, nil
	}

	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666) //nolint:gosec // As os.Create: the umask decides.
	if err != nil {
		return verdictFile{}, usageError("--json: %v", err)
	}
	return verdictFile{w: file, file: file}, nil
}

// write writes the verdicts and closes the file.
func (v verdictFile) write(verdicts []fleetsim.Verdict) error {
	if v.w == nil {
		return nil
	}

	err := v.truncate()
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

// truncate removes the old content of the file. Pipes and devices have none, and cannot be truncated.
func (v verdictFile) truncate() error {
	if v.file == nil {
		return nil
	}
	if info, err := v.file.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	return v.file.Truncate(0)
}
