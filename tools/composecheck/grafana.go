package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/types"
)

var errNotMounted = errors.New("no file is mounted at this path")

// grafanaDefaultUID is the uid of Grafana's built-in data source for annotations.
const grafanaDefaultUID = "-- Grafana --"

// checkGrafana checks the provisioning of Grafana. Data sources must be services. Dashboards must be JSON, have unique uids
// and use existing data sources.
func checkGrafana(project *types.Project, service types.ServiceConfig) (errs []error) {
	provisioning := service.Environment["GF_PATHS_PROVISIONING"]
	if provisioning == nil {
		return nil
	}
	root := hostPath(service, *provisioning)

	sources := map[string]bool{grafanaDefaultUID: true}
	for _, file := range yamlFiles(root, "datasources") {
		var config struct {
			Datasources []struct{ UID, URL string }
		}
		if err := readYAML(file, &config); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}

		for _, source := range config.Datasources {
			sources[source.UID] = true
			if u, err := url.Parse(source.URL); err != nil || !isService(project, u.Host) {
				errs = append(errs, fmt.Errorf("%s: the data source %s is at %s, which is no service", service.Name, source.UID, source.URL))
			}
		}
	}

	checker := dashboardChecker{sources: sources, fileByUID: map[string]string{}}
	for _, file := range yamlFiles(root, "dashboards") {
		var config struct {
			Providers []struct{ Options struct{ Path string } }
		}
		if err := readYAML(file, &config); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
		for _, provider := range config.Providers {
			errs = append(errs, checker.check(hostPath(service, provider.Options.Path))...)
		}
	}

	if len(sources) == 1 || len(checker.fileByUID) == 0 {
		errs = append(errs, fmt.Errorf("%s has %d data sources and %d dashboards, want at least one of each",
			service.Name, len(sources)-1, len(checker.fileByUID)))
	}
	if home := service.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]; home != nil {
		if _, err := os.Stat(hostPath(service, *home)); err != nil {
			errs = append(errs, fmt.Errorf("%s: the home dashboard: %w", service.Name, err))
		}
	}
	return errs
}

func yamlFiles(root, kind string) []string {
	// The pattern is valid, so there is no error.
	files, _ := filepath.Glob(filepath.Join(root, kind, "*.yml"))
	return files
}

// dashboardChecker checks dashboards against the data sources and against each other.
type dashboardChecker struct {
	sources   map[string]bool   // by uid
	fileByUID map[string]string // of the dashboards that were found
}

// check checks every dashboard in a folder and below.
func (d *dashboardChecker) check(folder string) (errs []error) {
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(file) != ".json" {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}

		var dashboard map[string]any
		if err := json.Unmarshal(text, &dashboard); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
			return nil
		}

		uid, _ := dashboard["uid"].(string)
		title, _ := dashboard["title"].(string)
		if uid == "" || title == "" {
			errs = append(errs, fmt.Errorf("%s: uid %q, title %q: want both", file, uid, title))
		}
		if other, isTaken := d.fileByUID[uid]; isTaken {
			errs = append(errs, fmt.Errorf("%s: %s has the same uid %q", file, other, uid))
		}
		d.fileByUID[uid] = file

		for _, missing := range d.missingSources(dashboard) {
			errs = append(errs, fmt.Errorf("%s uses the data source %q, which is not provisioned", file, missing))
		}
		return nil
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("dashboards: %w", err))
	}
	return errs
}

// missingSources returns the uids of data sources in a part of a dashboard that are not provisioned.
func (d *dashboardChecker) missingSources(value any) (uids []string) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			uids = append(uids, d.missingSources(element)...)
		}

	case map[string]any:
		for name, element := range v {
			if source, ok := element.(map[string]any); ok && name == "datasource" {
				if uid, _ := source["uid"].(string); !d.sources[uid] {
					uids = append(uids, uid)
				}
				continue
			}
			uids = append(uids, d.missingSources(element)...)
		}
	}

	return uids
}
