// Command composecheck checks a compose file as far as can be without an engine: the specification's schema, references
// between services and volumes, that every file which is mounted exists, that ports are published on this machine only, and
// that Prometheus and Grafana find what they are configured with.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "composecheck:", err)
		os.Exit(1)
	}
}

func check(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: composecheck FILE")
	}
	options, err := cli.NewProjectOptions(args, cli.WithWorkingDirectory(filepath.Dir(args[0])), cli.WithResolvedPaths(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	var wrong []error
	for name, service := range project.Services {
		if service.Image == "" && service.Build == nil {
			wrong = append(wrong, fmt.Errorf("%s has neither an image nor a build", name))
		}
		if service.Build != nil {
			if _, err := os.Stat(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
			}
		}
		for _, volume := range service.Volumes {
			if _, err := os.Stat(volume.Source); volume.Type == types.VolumeTypeBind && err != nil {
				wrong = append(wrong, fmt.Errorf("%s mounts what is not there: %w", name, err))
			}
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				wrong = append(wrong, fmt.Errorf("%s publishes port %s beyond this machine", name, port.Published))
			}
		}
		wrong = append(wrong, checkPrometheus(project, service)...)
		wrong = append(wrong, checkGrafana(project, service)...)
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	fmt.Printf("%s: %d services, %d volumes: ok\n", args[0], len(project.Services), len(project.Volumes))
	return nil
}
