package browser

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func hasState(id, state string) string {
	return fmt.Sprintf(`document.querySelector('[data-id="%s"]')?.dataset.state === "%s"`, id, state)
}

func newSmallFleet() []controller {
	return []controller{
		newController("mc-1", "eu-west-1", "healthy"),
		newController("mc-2", "eu-west-1", "degraded"),
		newController("mc-10", "eu-west-1", "unhealthy"),
		newController("mc-3", "us-east-1", "healthy"),
		newController("mc-4", "us-east-1", "draining"),
		newController("mc-5", "us-east-1", "pending"),
	}
}

// openPage opens the page of a fake server and enters the token.
func openPage(t *testing.T, f *fakeServer, hash string) *tab {
	t.Helper()
	b := newTab(t)
	b.navigate(f.URL + "/" + hash)
	b.enterToken(goodToken)
	b.waitFor("tiles", `document.querySelector(".tile")`)
	return b
}

// invalidToken reports whether the dialog for the token is open and shows an error.
const invalidToken = `document.querySelector("dialog.token .problem")?.innerText.includes("invalid")`

func TestWatch_ResumesAfterStreamEnds(t *testing.T) {
	f := newFakeServer(t, newSmallFleet()...)
	b := newTab(t)
	b.expectMessage("401")
	b.expectMessage("ERR_INCOMPLETE_CHUNKED_ENCODING")
	b.navigate(f.URL)
	b.enterToken("wrong-token")
	b.waitFor("an error about the token", invalidToken)
	b.enterToken(goodToken)
	b.waitFor("six tiles", `document.querySelectorAll(".tile").length === 6`)
	order := eval[string](b, `[...document.querySelectorAll(".tile")].map((t) => t.dataset.id).join(" ")`)
	if want := "mc-1 mc-2 mc-10 mc-3 mc-4 mc-5"; order != want {
		t.Errorf("the order is %s, want %s", order, want)
	}
	b.waitFor("live", `document.querySelector("#connection").dataset.state === "live"`)

	f.sendChange(newController("mc-1", "eu-west-1", "unhealthy"), "healthy", epoch.Add(time.Second))
	b.waitFor("mc-1 unhealthy", hasState("mc-1", "unhealthy"))
	b.waitFor("an announcement", `document.querySelector("#announcements").innerText.includes("mc-1 is unhealthy")`)

	f.endStream()
	f.sendChange(newController("mc-2", "eu-west-1", "healthy"), "degraded", epoch.Add(2*time.Second))
	b.waitFor("mc-2 healthy after a new connection", hasState("mc-2", "healthy"))
	if queries := f.watchQueriesSoFar(); queries[len(queries)-1] != "loads=true&after=101" {
		t.Errorf("the page requested %q, want it to resume after 101", queries[len(queries)-1])
	}

	// A snapshot replaces the fleet.
	f.mu.Lock()
	f.fleet = f.fleet[:2]
	f.mu.Unlock()
	f.send(f.encodeSnapshot("lagged"))
	b.waitFor("two tiles", `document.querySelectorAll(".tile").length === 2`)
	removed := object{"controller_id": "mc-2", "controller": nil, "transition": nil}
	f.send(encodeEvent("changes", object{"as_of": epoch, "changes": []any{removed}}))
	b.waitFor("one tile", `document.querySelectorAll(".tile").length === 1`)

	f.setWatchStatus(http.StatusServiceUnavailable)
	b.expectMessage("503")
	f.endStream()
	b.waitFor("a new connection and its reason", `document.querySelector("#connection").innerText.includes("GET /ready")`)
	f.setWatchStatus(0)
	b.waitFor("live again", `document.querySelector("#connection").dataset.state === "live"`)

	f.send(encodeEvent("error", object{"error": object{"code": "INVALID_TOKEN", "message": "Invalid token"}}))
	b.waitFor("an error about the token", invalidToken)
}

func TestWatch_StoreWithoutResponseIsShown(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, newSmallFleet()...)
	b := openPage(t, f, "")
	for end := time.Now().Add(2 * waitTimeout); ; time.Sleep(time.Second) {
		f.send(encodeEvent("beat", object{"as_of": epoch}))
		if eval[string](b, `document.querySelector("#connection").dataset.state`) == "stalled" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the page shows no failure of the store although all keep-alives have the same time")
		}
	}
	f.send(encodeEvent("beat", object{"as_of": epoch.Add(time.Second)}))
	b.waitFor("live again", `document.querySelector("#connection").dataset.state === "live"`)
}

func TestFilters_AddressHasFiltersWithoutToken(t *testing.T) {
	f := newFakeServer(t, newSmallFleet()...)
	b := openPage(t, f, "")
	b.click(`.chip[data-state="healthy"]`)
	b.click(`.chip[data-state="degraded"]`)
	b.waitFor("three tiles", `document.querySelectorAll(".tile").length === 3`)
	b.click(`[data-region="eu-west-1"] .name`)
	b.waitFor("two tiles", `document.querySelectorAll(".tile").length === 2`)
	b.fill("#filter-text", "mc-2")
	b.waitFor("one tile", `document.querySelectorAll(".tile").length === 1`)
	b.waitFor("filters in the address", `location.hash === "#q=mc-2&region=eu-west-1&state=healthy%2Cdegraded"`)
	if got := b.innerText("#count"); got != "1 of 6 controllers" {
		t.Errorf("got %q, want 1 of 6 controllers", got)
	}

	address := eval[string](b, "location.href")
	stored := eval[string](b, `JSON.stringify([
		location.href,
		document.documentElement.outerHTML,
		[...document.querySelectorAll("input")].map((i) => i.value),
		{...localStorage},
		{...sessionStorage},
		document.cookie,
	])`)
	if strings.Contains(stored, goodToken) {
		t.Errorf("the token is in %s", stored)
	}

	shared := newTab(t)
	shared.navigate(address)
	shared.enterToken(goodToken)
	shared.waitFor("the same tile", `[...document.querySelectorAll(".tile")].map((t) => t.dataset.id).join() === "mc-2"`)
	shared.click("#filters .plain")
	shared.waitFor("all tiles", `document.querySelectorAll(".tile").length === 6`)

	// A controller that no longer matches the filters disappears.
	f.sendChange(newController("mc-2", "eu-west-1", "unhealthy"), "degraded", epoch)
	shared.waitFor("mc-2 unhealthy", hasState("mc-2", "unhealthy"))
	shared.click("#token-button")
	shared.waitFor("token dialog", `document.querySelector("dialog.token[open]")`)
	eval[bool](shared, `(
		[...document.querySelectorAll("dialog button")].find((b) => b.innerText === "Forget the token").click(),
		true
	)`)
	shared.waitFor("an empty page without a token", `document.querySelectorAll(".tile, .region").length === 0`)
}

func TestKeyboard_ReachesEverything(t *testing.T) {
	f := newFakeServer(t, newSmallFleet()...)
	f.handle("GET /api/v1/controllers/{id}/transitions", func(w http.ResponseWriter, r *http.Request) {
		c := newController(r.PathValue("id"), "eu-west-1", "unhealthy")
		older := newTransition(3, c, "healthy", epoch.Add(-time.Minute))
		older["reason"], older["cause"], older["actor"] = `<img src=x onerror=alert(1)>`, "operator", "alice"
		writeTransitions(w, newTransition(9, c, "degraded", epoch.Add(-time.Second)), older)
	})
	b := openPage(t, f, "")
	focused := func(id string) {
		b.waitFor(id+" focused", fmt.Sprintf(`document.activeElement.dataset.id === "%s"`, id))
	}

	b.press("/")
	b.waitFor("the filter focused", `document.activeElement.id === "filter-text"`)
	b.press("Escape")
	focused("mc-1")
	b.press("ArrowRight")
	focused("mc-2")
	b.press("ArrowDown")
	focused("mc-4")

	b.press("Enter")
	b.waitFor("the controller open",
		`!document.querySelector("#detail").hidden && document.querySelector("#detail h2").innerText === "mc-4"`)
	b.waitFor("the history", `document.querySelectorAll(".timeline li").length === 2`)
	if got := b.innerText(".timeline"); !strings.Contains(got, "<img src=x onerror=alert(1)>") || !strings.Contains(got, "by alice") {
		t.Errorf("the history is %q, want the reason as text", got)
	}
	if got := b.innerText("#detail"); !strings.Contains(got, "Last heartbeat\n4 s ago") {
		t.Errorf("the detail is %q, want an age at the store's time", got)
	}

	f.sendChange(newController("mc-4", "us-east-1", "healthy"), "draining", epoch)
	b.waitFor("a new transition in the history", `document.querySelectorAll(".timeline li").length === 3 &&
		document.querySelector(".timeline li").innerText.includes("healthy")`)

	b.press("Escape")
	b.waitFor("the controller closed", `document.querySelector("#detail").hidden`)
	focused("mc-4")

	b.press("?")
	b.waitFor("the keys", `document.querySelector("dialog.keys[open]")`)
	b.press("Escape")
	b.waitFor("no dialog", `!document.querySelector("dialog")`)
	focused("mc-4")
}

// newUnsafePlan returns the plan of a drain that is not safe.
func newUnsafePlan() object {
	region := func(serving, maxMeetings int) object {
		capacity := object{"max": maxMeetings, "current": 60, "largest": 100, "free": 0, "free_without_largest": 0}
		return object{
			"region":                "eu-west-1",
			"pending":               0,
			"healthy":               serving,
			"degraded":              0,
			"unhealthy":             1,
			"draining":              0,
			"survives_largest_loss": false,
			"meetings":              capacity,
			"participants":          capacity,
		}
	}

	return object{
		"safe":                  false,
		"reasons":               []string{"eu-west-1 would have room for 50 meetings; 60 are running"},
		"meetings_affected":     30,
		"participants_affected": 900,
		"before":                region(2, 200),
		"after":                 region(1, 50),
	}
}

func TestDrainDialog_UnsafePlanNeedsForceAfterConflictToo(t *testing.T) {
	f := newFakeServer(t, newSmallFleet()...)
	var (
		generation atomic.Int64
		isDrained  atomic.Bool // with the reason and the deadline of the test
	)
	f.handle("POST /api/v1/controllers/{id}/drain", func(w http.ResponseWriter, r *http.Request) {
		order := decode[struct {
			Reason     string `json:"reason"`
			Deadline   string `json:"deadline"`
			DryRun     bool   `json:"dry_run"`
			Force      bool   `json:"force"`
			Generation int64  `json:"expected_generation"`
		}](r)
		c := newController("mc-1", "eu-west-1", "healthy")
		switch {
		case order.Generation != generation.Load():
			writeError(w, http.StatusConflict, "CONFLICT", "The generation has changed")
		case order.DryRun:
			writeJSON(w, http.StatusOK, object{"health": c.Health, "plan": newUnsafePlan()})
		case !order.Force:
			writeError(w, http.StatusConflict, "CONFLICT", "not safe")
		default:
			isDrained.Store(order.Reason == "upgrade" && order.Deadline == "2031-05-04T13:00:00.000Z")
			c.Health = "draining"
			c.OperatorDraining = true
			c.Generation = 8
			f.sendChange(c, "healthy", epoch)
			writeJSON(w, http.StatusOK, object{"health": c.Health})
		}
	})

	f.handle("GET /api/v1/controllers/{id}", func(w http.ResponseWriter, _ *http.Request) {
		c := newController("mc-1", "eu-west-1", "healthy")
		c.Generation = int(generation.Load())
		writeJSON(w, http.StatusOK, c)
	})

	f.handle("GET /api/v1/controllers/{id}/transitions", func(w http.ResponseWriter, _ *http.Request) {
		last := newTransition(9, newController("mc-1", "eu-west-1", "healthy"), "draining", epoch)
		last["cause"], last["actor"] = "operator", "bob"
		writeTransitions(w, last)
	})

	b := openPage(t, f, "")
	b.expectMessage("409")
	b.click(`[data-id="mc-1"]`)
	b.click("#detail .drain-button")
	b.waitFor("the plan", `document.querySelector("dialog .plan")?.innerText.includes("would have room for 50 meetings")`)
	if eval[bool](b, `!document.querySelector("dialog .danger").disabled`) {
		t.Error("an unsafe drain can be ordered without force")
	}
	b.screenshot("drain-not-safe")

	// Another operator changes the controller before the order.
	b.fill("#reason", "upgrade")
	b.fill("#deadline", "1 h")
	b.click("#force")
	generation.Store(7)
	b.click("dialog .danger")
	b.waitFor("the other operator's name", `document.querySelector("dialog .problem").innerText.includes("bob")`)
	b.waitFor("a new plan", `document.querySelector("dialog .plan")?.innerText.includes("would have room") &&
		document.querySelector("dialog .danger").disabled`)

	b.click("#force")
	b.click("dialog .danger")
	b.waitFor("no dialog", `!document.querySelector("dialog")`)
	b.waitFor("mc-1 draining", hasState("mc-1", "draining"))
	if !isDrained.Load() {
		t.Error("the order has a different reason or deadline, or its deadline is not relative to the store's clock")
	}
}
