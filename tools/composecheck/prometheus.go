package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// checkPrometheus holds that what a Prometheus is configured with is mounted, and that it scrapes services that there
// are. promtool, which make prom-check runs, knows whether the configuration is a valid one.
func checkPrometheus(project *types.Project, service types.ServiceConfig) (wrong []error) {
	for _, argument := range service.Command {
		file, ok := strings.CutPrefix(argument, "--config.file=")
		if !ok {
			continue
		}
		var config struct {
			RuleFiles     []string `yaml:"rule_files"`
			ScrapeConfigs []struct {
				StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
				HTTPSDConfigs []struct{ URL string }       `yaml:"http_sd_configs"`
			} `yaml:"scrape_configs"`
		}
		if err := readYAML(onHost(service, file), &config); err != nil {
			return append(wrong, fmt.Errorf("%s: %s: %w", service.Name, file, err))
		}
		for _, rules := range config.RuleFiles {
			if !path.IsAbs(rules) {
				rules = path.Join(path.Dir(file), rules)
			}
			if _, err := os.Stat(onHost(service, rules)); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: the rules %s are not mounted: %w", service.Name, rules, err))
			}
		}
		var addresses []string
		for _, scraped := range config.ScrapeConfigs {
			for _, static := range scraped.StaticConfigs {
				addresses = append(addresses, static.Targets...)
			}
			for _, discovered := range scraped.HTTPSDConfigs {
				u, err := url.Parse(discovered.URL)
				if err != nil {
					wrong = append(wrong, fmt.Errorf("%s: %w", service.Name, err))
					continue
				}
				addresses = append(addresses, u.Host)
			}
		}
		for _, address := range addresses {
			if !isService(project, address) {
				wrong = append(wrong, fmt.Errorf("%s scrapes %s, which is no service", service.Name, address))
			}
		}
	}
	return wrong
}

func isService(project *types.Project, address string) bool {
	host, _, err := net.SplitHostPort(address)
	_, ok := project.Services[host]
	return err == nil && (ok || host == "localhost")
}

func readYAML(file string, into any) error {
	if file == "" {
		return errNotMounted
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, into)
}
