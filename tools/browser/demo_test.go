package browser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var database = flag.String("database", "", "postgres://… address of an empty database, with which the demo runs as well")

// demo is a running `gcctl dev --kill-one`, which kills one of its controllers when all are healthy.
type demo struct {
	http string
	ac   string
}

const (
	// killedController is the controller that the demo kills.
	killedController = "mc-us-east-1-1"
	// maxDetectionTime limits the time until the page shows it as unhealthy: the staleness threshold, one interval between sweeps,
	// and a margin for a busy machine.
	maxDetectionTime = 45 * time.Second
)

func startDemo(t *testing.T, database string) demo {
	t.Helper()
	command := exec.Command(filepath.Join(*binaries, "gcctl"), "dev", "--kill-one",
		"--http", "127.0.0.1:0",
		"--grpc", "127.0.0.1:0",
		"--ac", "127.0.0.1:0",
		"--data", filepath.Join(t.TempDir(), "data"),
		"--database", database,
	)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errorOutput bytes.Buffer
	command.Stderr = &errorOutput
	if err := command.Start(); err != nil {
		t.Fatalf("start the demo: %v: run make build", err)
	}

	var (
		mu        sync.Mutex
		output    strings.Builder
		outputEnd = make(chan struct{})
	)
	go func() {
		defer close(outputEnd)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			mu.Lock()
			output.WriteString(lines.Text() + "\n")
			mu.Unlock()
		}
	}()

	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-outputEnd
		if err := command.Wait(); err != nil {
			t.Errorf("the demo ended with %v:\n%s", err, &errorOutput)
		}
	})

	waitForOutput := func(pattern string) string {
		expression := regexp.MustCompile(pattern)
		for end := time.Now().Add(waitTimeout); ; time.Sleep(20 * time.Millisecond) {
			mu.Lock()
			text := output.String()
			mu.Unlock()
			found := expression.FindStringSubmatch(text)
			if found != nil {
				return found[len(found)-1]
			}
			if time.Now().After(end) {
				t.Fatalf("no %s in the demo's output:\n%s", pattern, text)
			}
		}
	}

	d := demo{
		http: waitForOutput(`HTTP +(http://[0-9.:]+)`),
		ac:   waitForOutput(`auth controller +(http://[0-9.:]+)`),
	}

	waitForOutput(`all 12 controllers are healthy`)
	return d
}

// requestToken requests a token from the demo's auth controller.
func (d demo) requestToken(t *testing.T, client string) string {
	t.Helper()
	body := fmt.Sprintf(`{"grant_type":"client_credentials","client_id":%q,"client_secret":%q}`, client, client+"-secret")
	response, err := http.Post(d.ac+"/api/v1/auth/service/token", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	defer func() { _ = response.Body.Close() }()

	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	var parsed struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &parsed); err != nil || parsed.Token == "" {
		t.Fatalf("token: %s, %v", text, err)
	}
	return parsed.Token
}

// TestDemo_DrainAndKillAreShown uses the page with a running Global Controller and its fleet.
func TestDemo_DrainAndKillAreShown(t *testing.T) {
	databases := map[string]string{"sqlite": ""}
	if *database != "" {
		databases["postgres"] = *database
	}
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			useDemo(t, name, startDemo(t, database))
		})
	}
}

func useDemo(t *testing.T, name string, d demo) {
	b := newTab(t)
	b.navigate(d.http)
	b.enterToken(d.requestToken(t, "dev-admin"))
	b.waitFor("12 tiles", `document.querySelectorAll(".tile").length === 12`)
	b.waitFor("3 regions", `document.querySelectorAll(".region").length === 3`)
	b.waitFor("live", `document.querySelector("#connection").dataset.state === "live"`)
	eval[bool](b, `(window.isFirstLoad = true)`) // A reload of the page would remove it.

	const drained = "mc-eu-west-1-2"
	b.waitFor(drained+" healthy", hasState(drained, "healthy"))
	drainWithDialog(b, name, drained)

	// The tile of the killed controller changes without a reload.
	b.waitForWithin(maxDetectionTime, killedController+" unhealthy", hasState(killedController, "unhealthy"))
	if !eval[bool](b, "window.isFirstLoad === true") {
		t.Error("the page was reloaded")
	}

	if name == "sqlite" {
		for _, theme := range []string{"light", "dark"} {
			b.emulateMedia(map[string]string{"prefers-color-scheme": theme})
			b.screenshot("demo-" + theme)
		}
	}

	// The drain ends with keys only.
	b.click(`[data-id="` + drained + `"]`)
	b.press("d")
	b.waitFor("undrain dialog", `document.querySelector("dialog.undrain[open]")`)
	b.press("Enter")
	b.waitFor("no dialog", `!document.querySelector("dialog")`)
	b.waitFor(drained+" healthy again", hasState(drained, "healthy"))

	// An operator without gc:admin sees the same, and cannot drain.
	other := newTab(t)
	other.expectMessage("403")
	other.navigate(d.http)
	other.enterToken(d.requestToken(t, "dev-reader"))
	other.waitFor("12 tiles", `document.querySelectorAll(".tile").length === 12`)
	other.waitFor(killedController+" unhealthy", hasState(killedController, "unhealthy"))
	other.click(`[data-id="` + drained + `"]`)
	other.press("d")
	other.waitFor("an error in the dialog", `document.querySelector("dialog .problem")?.hidden === false`)
}

// drainWithDialog drains a controller with the dialog, and waits until the page shows the drain.
func drainWithDialog(b *tab, name, drained string) {
	b.t.Helper()
	b.click(`[data-id="` + drained + `"]`)
	b.waitFor("the history", `document.querySelectorAll(".timeline li").length >= 2`)

	b.click("#detail .drain-button")
	b.waitFor("a safe plan", `document.querySelector("dialog .verdict")?.innerText.includes("Safe")`)
	b.fill("#reason", "new kernel")
	b.screenshot(name + "-drain")
	b.click("dialog .danger")

	b.waitFor("no dialog", `!document.querySelector("dialog")`)
	b.waitFor(drained+" draining", hasState(drained, "draining"))
	b.waitFor("operator and reason", `["dev-admin", "new kernel"].every((text) => document.querySelector("#detail").innerText.includes(text))`)
	b.waitFor("the drain in the history",
		`["draining", "new kernel"].every((text) => document.querySelector(".timeline li").innerText.includes(text))`)
}

// TestDemo_PageHasStrictPolicy checks the headers of the page as the whole service sends them.
func TestDemo_PageHasStrictPolicy(t *testing.T) {
	d := startDemo(t, "")
	response, err := http.Get(d.http + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	policy := response.Header.Get("Content-Security-Policy")
	if response.StatusCode != http.StatusOK || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("/ = %d with the policy %q, want a strict one", response.StatusCode, policy)
	}
}
