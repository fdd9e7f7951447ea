// Command composecheck checks a compose file as far as possible without a container engine. It checks the schema, the references
// between services and volumes, and the existence of mounted files. Ports must be published on this machine only. It also checks
// the files that Prometheus and Grafana are configured with.
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

	var errs []error
	for name, service := range project.Services {
		errs = append(errs, checkService(name, service)...)
		errs = append(errs, checkPrometheus(project, service)...)
		errs = append(errs, checkGrafana(project, service)...)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Printf("%s: %d services, %d volumes: ok\n", args[0], len(project.Services), len(project.Volumes))
	return nil
}

func checkService(name string, service types.ServiceConfig) (errs []error) {
	if service.Image == "" && service.Build == nil {
		errs = append(errs, fmt.Errorf("%s has neither an image nor a build", name))
	}

	if service.Build != nil {
		if _, err := os.Stat(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}

	for _, volume := range service.Volumes {
		if _, err := os.Stat(volume.Source); volume.Type == types.VolumeTypeBind && err != nil {
			errs = append(errs, fmt.Errorf("%s mounts a file that does not exist: %w", name, err))
		}
	}

	for _, port := range service.Ports {
		if port.HostIP != "127.0.0.1" {
			errs = append(errs, fmt.Errorf("%s publishes port %s beyond this machine: publish it on 127.0.0.1", name, port.Published))
		}
	}

	return errs
}
