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

var errNotMounted = errors.New("nothing is mounted there")

// grafanaDefaultUID names Grafana's own source of annotations.
const grafanaDefaultUID = "-- Grafana --"

// checkGrafana holds that a Grafana finds what it is provisioned with: sources of data that are services, and
// dashboards that are JSON, have uids of their own, and ask sources that there are.
func checkGrafana(project *types.Project, service types.ServiceConfig) (wrong []error) {
	provisioning := service.Environment["GF_PATHS_PROVISIONING"]
	if provisioning == nil {
		return nil
	}
	root := onHost(service, *provisioning)
	sources := map[string]bool{grafanaDefaultUID: true}
	for _, file := range yamlFiles(root, "datasources") {
		var config struct {
			Datasources []struct{ UID, URL string }
		}
		if err := readYAML(file, &config); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", file, err))
		}
		for _, source := range config.Datasources {
			sources[source.UID] = true
			if u, err := url.Parse(source.URL); err != nil || !isService(project, u.Host) {
				wrong = append(wrong, fmt.Errorf("%s: the source %s is at %s, which is no service", service.Name, source.UID, source.URL))
			}
		}
	}
	dashboards := dashboards{sources: sources, uids: map[string]string{}}
	for _, file := range yamlFiles(root, "dashboards") {
		var config struct {
			Providers []struct{ Options struct{ Path string } }
		}
		if err := readYAML(file, &config); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", file, err))
		}
		for _, provider := range config.Providers {
			wrong = append(wrong, dashboards.check(onHost(service, provider.Options.Path))...)
		}
	}
	if len(sources) == 1 || len(dashboards.uids) == 0 {
		wrong = append(wrong, fmt.Errorf("%s has %d sources of data and %d dashboards, want some", service.Name, len(sources)-1, len(dashboards.uids)))
	}
	if home := service.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]; home != nil {
		if _, err := os.Stat(onHost(service, *home)); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: the home dashboard: %w", service.Name, err))
		}
	}
	return wrong
}

func yamlFiles(root, kind string) []string {
	// The pattern is a constant.
	files, _ := filepath.Glob(filepath.Join(root, kind, "*.yml"))
	return files
}

// dashboards are those that were found so far.
type dashboards struct {
	sources map[string]bool
	uids    map[string]string // to the file of each
}

// check looks at every dashboard in a folder and below.
func (d *dashboards) check(folder string) (wrong []error) {
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
			wrong = append(wrong, fmt.Errorf("%s: %w", file, err))
			return nil
		}
		uid, _ := dashboard["uid"].(string)
		title, _ := dashboard["title"].(string)
		if other, taken := d.uids[uid]; uid == "" || title == "" || taken {
			wrong = append(wrong, fmt.Errorf("%s: its uid %q and its title %q must be there and its own (%s)", file, uid, title, other))
		}
		d.uids[uid] = file
		for _, missing := range d.missing(dashboard) {
			wrong = append(wrong, fmt.Errorf("%s asks a source of data %q, which is not provisioned", file, missing))
		}
		return nil
	})
	if err != nil {
		wrong = append(wrong, fmt.Errorf("dashboards: %w", err))
	}
	return wrong
}

// missing are the sources of data that something in a dashboard names and that are not there.
func (d *dashboards) missing(value any) (uids []string) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			uids = append(uids, d.missing(element)...)
		}
	case map[string]any:
		for name, element := range v {
			if source, ok := element.(map[string]any); ok && name == "datasource" {
				if uid, _ := source["uid"].(string); !d.sources[uid] {
					uids = append(uids, uid)
				}
				continue
			}
			uids = append(uids, d.missing(element)...)
		}
	}
	return uids
}
