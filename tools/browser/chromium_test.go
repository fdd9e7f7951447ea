package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var (
	screenshots = flag.String("screenshots", "", "folder for screenshots; empty: no screenshots")
	binaries    = flag.String("bin", "../../bin", "folder of gcctl")
)

// waitTimeout limits the wait for a page. It is long because the machine may be busy.
const waitTimeout = 20 * time.Second

// chromium is the context of the browser that all tests share.
var chromium context.Context

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "browser-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()

	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath("chromium"),
		chromedp.Flag("headless", "new"),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.WindowSize(1440, 900),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()

	var cancel context.CancelFunc
	chromium, cancel = chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	defer cancel()
	if _, err := chromedp.Run(chromium, chromedp.Evaluate[int]("1")); err != nil {
		fmt.Fprintln(os.Stderr, "browser: start chromium:", err)
		return 1
	}
	return m.Run()
}

// tab is a page in a browser profile of its own. Errors and warnings of the browser fail the test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	messages []string // the browser's errors and warnings
	expected []string // parts of messages that do not fail the test
}

// reportPolicyViolations is a script that writes violations of the Content-Security-Policy to the console.
const reportPolicyViolations = `addEventListener("securitypolicyviolation", (e) => {
	console.error("policy: " + e.violatedDirective + " " + e.blockedURI);
});`

func newTab(t *testing.T, scripts ...string) *tab {
	t.Helper()
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.recordMessage))
	b.ctx = ctx

	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, text := range b.messages {
			if !slices.ContainsFunc(b.expected, func(part string) bool { return strings.Contains(text, part) }) {
				t.Errorf("message of the browser: %s", text)
			}
		}
		cancel()
	})

	// The page exists as long as the context of the first run.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1440, 900)); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	for _, script := range append([]string{reportPolicyViolations}, scripts...) {
		call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
	}
	call(b, log.Enable, cdp.Empty{})
	return b
}

func (b *tab) recordMessage(event any) {
	text := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		switch e.Type {
		case runtime.ConsoleAPICalledTypeError, runtime.ConsoleAPICalledTypeWarning, runtime.ConsoleAPICalledTypeAssert:
			for _, argument := range e.Args {
				text += fmt.Sprintf("%s %s ", argument.Value, argument.Description)
			}
			text = "console: " + text
		}
	case *runtime.EventExceptionThrown:
		text = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level != log.EntryLevelVerbose && e.Entry.Level != log.EntryLevelInfo {
			text = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}

	if text != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.messages = append(b.messages, text)
	}
}

// expectMessage allows messages of the browser that contain part.
func (b *tab) expectMessage(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, part)
}

func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

func (b *tab) mustDo(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

func (b *tab) navigate(address string) {
	b.t.Helper()
	b.mustDo("open "+address, chromedp.Navigate(address))
}

func (b *tab) click(css string) {
	b.t.Helper()
	b.mustDo("click "+css, chromedp.Click(chromedp.CSS(css)))
}

func (b *tab) resize(width, height int64) {
	b.t.Helper()
	b.mustDo("size", chromedp.EmulateViewport(width, height))
}

// press presses one key, by its name in the DOM. A letter is typed unless the page handles the key.
func (b *tab) press(key string) {
	b.t.Helper()
	codes := map[string]int64{
		"Enter": 13, "Escape": 27, "Tab": 9,
		"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
	}
	event := input.DispatchKeyEventParams{Type: "rawKeyDown", Key: key, WindowsVirtualKeyCode: codes[key]}
	switch {
	case key == "Enter":
		event.Type, event.Text = "keyDown", "\r"
	case len(key) == 1:
		event.Type, event.Text = "keyDown", key
	}
	call(b, input.DispatchKeyEvent, event)
	event.Type, event.Text = "keyUp", ""
	call(b, input.DispatchKeyEvent, event)
}

func (b *tab) fill(css, text string) {
	b.t.Helper()
	b.mustDo("type into "+css, chromedp.SendKeys(chromedp.CSS(css), text))
}

// emulateMedia sets media features of the system, such as prefers-color-scheme.
func (b *tab) emulateMedia(features map[string]string) {
	b.t.Helper()
	var set []*emulation.MediaFeature
	for name, value := range features {
		set = append(set, &emulation.MediaFeature{Name: name, Value: value})
	}
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: set})
}

// eval returns the value of an expression, or of its promise.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// waitFor waits until an expression is true.
func (b *tab) waitFor(what, expression string) {
	b.t.Helper()
	b.waitForWithin(waitTimeout, what, expression)
}

func (b *tab) waitForWithin(timeout time.Duration, what, expression string) {
	b.t.Helper()
	for end := time.Now().Add(timeout); !eval[bool](b, "Boolean("+expression+")"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.screenshot("failed")
			b.t.Fatalf("after %v still no %s\n%s", timeout, what, eval[string](b, "document.body.innerText.slice(0, 3000)"))
		}
	}
}

func (b *tab) innerText(css string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? '(none)'", css))
}

func (b *tab) enterToken(token string) {
	b.t.Helper()
	b.waitFor("token dialog", `document.querySelector("dialog.token[open]")`)
	b.fill("#token", token)
	b.press("Enter")
}

// screenshot writes a screenshot if the flag -screenshots is set.
func (b *tab) screenshot(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(*screenshots, name+".png"), data, 0o644)
	}
	if err != nil {
		b.t.Fatalf("screenshot %s: %v", name, err)
	}
}
