package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// prometheusConfig is the part of Prometheus's configuration that refers to files and services.
type prometheusConfig struct {
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		HTTPSDConfigs []struct{ URL string }       `yaml:"http_sd_configs"`
	} `yaml:"scrape_configs"`
}

// checkPrometheus checks that the files of Prometheus's configuration are mounted, and that it scrapes existing services.
// promtool, which make prom-check runs, checks the configuration itself.
func checkPrometheus(project *types.Project, service types.ServiceConfig) (errs []error) {
	for _, argument := range service.Command {
		file, isConfig := strings.CutPrefix(argument, "--config.file=")
		if !isConfig {
			continue
		}
		var config prometheusConfig
		if err := readYAML(hostPath(service, file), &config); err != nil {
			return append(errs, fmt.Errorf("%s: %s: %w", service.Name, file, err))
		}

		for _, rules := range config.RuleFiles {
			if !path.IsAbs(rules) {
				rules = path.Join(path.Dir(file), rules)
			}
			if _, err := os.Stat(hostPath(service, rules)); err != nil {
				errs = append(errs, fmt.Errorf("%s: the rules %s are not mounted: %w", service.Name, rules, err))
			}
		}

		addresses, err := config.scrapedAddresses()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", service.Name, err))
		}
		for _, address := range addresses {
			if !isService(project, address) {
				errs = append(errs, fmt.Errorf("%s scrapes %s, which is no service", service.Name, address))
			}
		}
	}
	return errs
}

// scrapedAddresses returns the static targets and the addresses of HTTP service discovery.
func (c prometheusConfig) scrapedAddresses() (addresses []string, err error) {
	for _, scrape := range c.ScrapeConfigs {
		for _, static := range scrape.StaticConfigs {
			addresses = append(addresses, static.Targets...)
		}
		for _, discovery := range scrape.HTTPSDConfigs {
			u, parseErr := url.Parse(discovery.URL)
			if parseErr != nil {
				err = errors.Join(err, parseErr)
				continue
			}
			addresses = append(addresses, u.Host)
		}
	}
	return addresses, err
}

// isService reports whether an address HOST:PORT is that of a service, or of the container itself.
func isService(project *types.Project, address string) bool {
	host, _, err := net.SplitHostPort(address)
	_, isKnown := project.Services[host]
	return err == nil && (isKnown || host == "localhost")
}

func readYAML(file string, result any) error {
	if file == "" {
		return errNotMounted
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, result)
}
