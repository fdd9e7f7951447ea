package daemon

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// probeTimeout limits the command "probe".
const probeTimeout = 3 * time.Second

// probe returns an error unless the service at BIND_ADDRESS is ready. Container engines use it as a health check.
func probe(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()

	client, scheme := &http.Client{}, "http"
	if cfg.TLSCertFile != "" {
		certificate, err := loadCertificate(cfg)
		if err != nil {
			return err
		}
		client.Transport, scheme = &http.Transport{TLSClientConfig: pinCertificate(certificate)}, "https"
	}

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+cfg.BindAddress+"/ready", nil)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: /ready returned status %d", response.StatusCode)
	}
	return nil
}
