package main

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// hostPath returns the file on this machine that a container of the service has at an absolute path, "" if none is mounted
// there. If mounts are nested, the innermost one counts.
func hostPath(service types.ServiceConfig, containerPath string) string {
	found := ""
	longest := -1
	for _, volume := range service.Volumes {
		rest, isBelow := strings.CutPrefix(path.Clean(containerPath), path.Clean(volume.Target))
		if volume.Type != types.VolumeTypeBind || !isBelow || (rest != "" && rest[0] != '/') || len(volume.Target) <= longest {
			continue
		}
		found = filepath.Join(volume.Source, filepath.FromSlash(rest))
		longest = len(volume.Target)
	}
	return found
}
