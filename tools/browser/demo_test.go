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

var database = flag.String("database", "", "postgres://… of an empty database, which the demo is run over as well")

// demo is `gcctl dev`, which kills one of its controllers once all are healthy.
type demo struct{ http, ac string }

// killed is the controller that the demo kills; detection is how long that may take to show: the staleness threshold, one
// interval of the checker and some for a busy machine.
const (
	killed    = "mc-us-east-1-1"
	detection = 45 * time.Second
)

func startDemo(t *testing.T, database string) demo {
	t.Helper()
	command := exec.Command(filepath.Join(*binaries, "gcctl"), "dev", "--kill-one", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--ac", "127.0.0.1:0",
		"--data", filepath.Join(t.TempDir(), "data"), "--database", database)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var failures bytes.Buffer
	command.Stderr = &failures
	if err := command.Start(); err != nil {
		t.Fatalf("start the demo: %v (make build)", err)
	}
	var (
		mu   sync.Mutex
		text strings.Builder
		read = make(chan struct{})
	)
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			mu.Lock()
			text.WriteString(lines.Text() + "\n")
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-read
		if err := command.Wait(); err != nil {
			t.Errorf("the demo ended with %v:\n%s", err, &failures)
		}
	})
	find := func(pattern string) string {
		of := regexp.MustCompile(pattern)
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			mu.Lock()
			found := of.FindStringSubmatch(text.String())
			said := text.String()
			mu.Unlock()
			if found != nil {
				return found[len(found)-1]
			}
			if time.Now().After(end) {
				t.Fatalf("the demo does not say %s:\n%s", pattern, said)
			}
		}
	}
	d := demo{http: find(`HTTP +(http://[0-9.:]+)`), ac: find(`auth controller +(http://[0-9.:]+)`)}
	find(`all 12 controllers are healthy`)
	return d
}

// token asks the demo's auth controller for one.
func (d demo) token(t *testing.T, client string) string {
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
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Token == "" {
		t.Fatalf("token: %s, %v", text, err)
	}
	return answer.Token
}

// TestTheDemo uses the page with a real Global Controller and its fleet.
func TestTheDemo(t *testing.T) {
	databases := map[string]string{"sqlite": ""}
	if *database != "" {
		databases["postgres"] = *database
	}
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDemo(t, name, startDemo(t, database))
		})
	}
}

func testDemo(t *testing.T, name string, d demo) {
	b := newTab(t)
	b.navigate(d.http)
	b.enterToken(d.token(t, "dev-admin"))
	b.until("12 tiles", `document.querySelectorAll(".tile").length === 12`)
	b.until("3 regions", `document.querySelectorAll(".region").length === 3`)
	b.until("live", `document.querySelector("#connection").dataset.state === "live"`)
	eval[bool](b, `(window.marked = true)`) // A reload would forget that.

	// Drain: what it would do, the order, and what comes of it, without looking again.
	const drained = "mc-eu-west-1-2"
	b.until(drained+" healthy", stateIs(drained, "healthy"))
	b.click(`[data-id="` + drained + `"]`)
	b.until("its history", `document.querySelectorAll(".timeline li").length >= 2`)
	b.click("#detail .order")
	b.until("that it is safe", `document.querySelector("dialog .verdict")?.innerText.includes("Safe")`)
	b.fill("#reason", "new kernel")
	b.shoot(name + "-drain")
	b.click("dialog .danger")
	b.until("no dialog", `!document.querySelector("dialog")`)
	b.until(drained+" drains", stateIs(drained, "draining"))
	b.until("who drains it and why", `document.querySelector("#detail").innerText.includes("dev-admin") && document.querySelector("#detail").innerText.includes("new kernel")`)
	b.until("the drain in its history", `document.querySelector(".timeline li").innerText.includes("draining") && document.querySelector(".timeline li").innerText.includes("new kernel")`)

	// The controller that was killed: its tile changes by itself.
	b.untilWithin(detection, killed+" unhealthy", stateIs(killed, "unhealthy"))
	if !eval[bool](b, "window.marked === true") {
		t.Error("the page was loaded anew")
	}
	if name == "sqlite" {
		for _, theme := range []string{"light", "dark"} {
			b.media(map[string]string{"prefers-color-scheme": theme})
			b.shoot("demo-" + theme)
		}
	}

	// Undrain, with keys alone.
	b.click(`[data-id="` + drained + `"]`)
	b.press("d")
	b.until("the dialog", `document.querySelector("dialog.undrain[open]")`)
	b.press("Enter")
	b.until("no dialog", `!document.querySelector("dialog")`)
	b.until(drained+" healthy again", stateIs(drained, "healthy"))

	// Another reader, who may not change anything, sees the same.
	other := newTab(t)
	other.expect("403")
	other.navigate(d.http)
	other.enterToken(d.token(t, "dev-reader"))
	other.until("12 tiles", `document.querySelectorAll(".tile").length === 12`)
	other.until(killed+" unhealthy", stateIs(killed, "unhealthy"))
	other.click(`[data-id="` + drained + `"]`)
	other.press("d")
	other.until("that it is not allowed to", `document.querySelector("dialog .problem")?.hidden === false`)
}

// TestWhatIsServed holds the headers of the page as the whole service sends them.
func TestWhatIsServed(t *testing.T) {
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
