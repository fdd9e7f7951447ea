package main

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// onHost is where a service's container gets the file at an absolute path from; "" when nothing is mounted there. Of
// mounts within each other the innermost counts.
func onHost(service types.ServiceConfig, inContainer string) string {
	found, longest := "", -1
	for _, volume := range service.Volumes {
		rest, ok := strings.CutPrefix(path.Clean(inContainer), path.Clean(volume.Target))
		if volume.Type != types.VolumeTypeBind || !ok || rest != "" && rest[0] != '/' || len(volume.Target) <= longest {
			continue
		}
		found, longest = filepath.Join(volume.Source, filepath.FromSlash(rest)), len(volume.Target)
	}
	return found
}
