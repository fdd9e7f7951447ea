package devstack

import (
	"strings"
	"text/template"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/pkg/devauth"
)

var bannerTemplate = template.Must(template.New("banner").Parse(`Global Controller, development stack

  page               http://{{.HTTP}}/       (its token: gcctl token --client dev-admin{{if .OtherAddresses}} --ac {{.AC}}{{end}})
  HTTP               http://{{.HTTP}}        (/health, /ready, /metrics, /sd/controllers, /openapi.json)
  gRPC               {{.GRPC}}
  auth controller    {{.AC}}        FOR DEVELOPMENT ONLY: its secrets are public, its key is in {{.DataDir}}
{{if .OtherAddresses}}  point gcctl to it  export GCCTL_ADDRESS={{.GRPC}} GCCTL_HTTP_ADDRESS={{.HTTP}} GCCTL_AC={{.AC}}
{{end}}
Try it in another terminal (the token allows reading the fleet for an hour):

  curl -s -H 'authorization: Bearer {{.Token}}' http://{{.HTTP}}/api/v1/controllers

  grpcurl -plaintext -H 'authorization: Bearer {{.Token}}' {{.GRPC}} globalcontroller.v1.FleetService/ListControllers

{{.Controllers}} meeting controllers register now. Each change of a controller's state prints a line. Ctrl-C stops everything.

`))

type bannerData struct {
	HTTP        string
	GRPC        string
	AC          string
	DataDir     string
	Token       string
	Controllers int
	// OtherAddresses is set if the addresses are not those that gcctl uses by default.
	OtherAddresses bool
}

// printBanner prints the addresses of the stack and commands to try.
func printBanner(out *screen, o Options, server *daemon.Server, ac *devauth.Server, acURL string) error {
	token, err := ac.Token("dev-reader", map[string]any{"scope": "gc:read"})
	if err != nil {
		return err
	}

	data := bannerData{
		HTTP:        server.HTTPAddress(),
		GRPC:        server.GRPCAddress(),
		AC:          acURL,
		DataDir:     o.DataDir,
		Token:       token,
		Controllers: o.Controllers,
	}
	data.OtherAddresses = data.HTTP != DefaultHTTPAddress ||
		data.GRPC != DefaultGRPCAddress ||
		data.AC != "http://"+DefaultACAddress

	var text strings.Builder
	if err := bannerTemplate.Execute(&text, data); err != nil {
		return err
	}
	out.print("%s", text.String())
	return nil
}
