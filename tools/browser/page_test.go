package browser

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func stateIs(id, state string) string {
	return fmt.Sprintf(`document.querySelector('[data-id="%s"]')?.dataset.state === "%s"`, id, state)
}

func smallFleet() []controller {
	return []controller{
		newController("mc-1", "eu-west-1", "healthy"), newController("mc-2", "eu-west-1", "degraded"), newController("mc-10", "eu-west-1", "unhealthy"),
		newController("mc-3", "us-east-1", "healthy"), newController("mc-4", "us-east-1", "draining"), newController("mc-5", "us-east-1", "pending"),
	}
}

// opened is a page with a token, over a fake server.
func opened(t *testing.T, f *fakeGC, hash string) *tab {
	t.Helper()
	b := newTab(t)
	b.navigate(f.URL + "/" + hash)
	b.enterToken(goodToken)
	b.until("tiles", `document.querySelector(".tile")`)
	return b
}

func TestTheWatchIsFollowedAndGoneOnWith(t *testing.T) {
	f := newFakeGC(t, smallFleet()...)
	b := newTab(t)
	b.expect("401")
	b.expect("ERR_INCOMPLETE_CHUNKED_ENCODING")
	b.navigate(f.URL)
	b.enterToken("wrong-token")
	b.until("that the token is wrong", `document.querySelector("dialog.token .problem")?.innerText.includes("not valid")`)
	b.enterToken(goodToken)
	b.until("six tiles", `document.querySelectorAll(".tile").length === 6`)
	if got, want := eval[string](b, `[...document.querySelectorAll(".tile")].map((t) => t.dataset.id).join(" ")`), "mc-1 mc-2 mc-10 mc-3 mc-4 mc-5"; got != want {
		t.Errorf("the order is %s, want %s", got, want)
	}
	b.until("live", `document.querySelector("#connection").dataset.state === "live"`)

	f.change(newController("mc-1", "eu-west-1", "unhealthy"), "healthy", epoch.Add(time.Second))
	b.until("mc-1 unhealthy", stateIs("mc-1", "unhealthy"))
	b.until("that a screen reader is told", `document.querySelector("#announcements").innerText.includes("mc-1 is unhealthy")`)

	f.hangUp()
	f.change(newController("mc-2", "eu-west-1", "healthy"), "degraded", epoch.Add(2*time.Second))
	b.until("mc-2 healthy after a new connection", stateIs("mc-2", "healthy"))
	if asked := f.queries(); asked[len(asked)-1] != "loads=true&after=101" {
		t.Errorf("the page asked for %q, want to go on after 101", asked[len(asked)-1])
	}

	// A snapshot starts over: what is not in it is gone.
	f.mu.Lock()
	f.fleet = f.fleet[:2]
	f.mu.Unlock()
	f.send(f.snapshot("lagged"))
	b.until("two tiles", `document.querySelectorAll(".tile").length === 2`)
	f.send(event("changes", object{"as_of": epoch, "changes": []any{object{"controller_id": "mc-2", "controller": nil, "transition": nil}}}))
	b.until("one tile", `document.querySelectorAll(".tile").length === 1`)

	f.refuseWatch(http.StatusServiceUnavailable)
	b.expect("503")
	f.hangUp()
	b.until("that it reconnects, and why", `document.querySelector("#connection").innerText.includes("store does not answer")`)
	f.refuseWatch(0)
	b.until("live again", `document.querySelector("#connection").dataset.state === "live"`)

	f.send(event("error", object{"error": object{"code": "INVALID_TOKEN", "message": "Invalid token"}}))
	b.until("that the token has run out", `document.querySelector("dialog.token .problem")?.innerText.includes("not valid")`)
}

func TestASilentStoreIsSeen(t *testing.T) {
	t.Parallel()
	f := newFakeGC(t, smallFleet()...)
	b := opened(t, f, "")
	for end := time.Now().Add(2 * patience); ; time.Sleep(time.Second) {
		f.send(event("beat", object{"as_of": epoch}))
		if eval[string](b, `document.querySelector("#connection").dataset.state`) == "silent" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("beats with the same time are not taken for a silent store")
		}
	}
	f.send(event("beat", object{"as_of": epoch.Add(time.Second)}))
	b.until("live again", `document.querySelector("#connection").dataset.state === "live"`)
}

func TestFiltersAreInTheAddressAndTheTokenIsNowhere(t *testing.T) {
	f := newFakeGC(t, smallFleet()...)
	b := opened(t, f, "")
	b.click(`.chip[data-state="healthy"]`)
	b.click(`.chip[data-state="degraded"]`)
	b.until("three tiles", `document.querySelectorAll(".tile").length === 3`)
	b.click(`[data-region="eu-west-1"] .name`)
	b.until("two tiles", `document.querySelectorAll(".tile").length === 2`)
	b.fill("#filter-text", "mc-2")
	b.until("one tile", `document.querySelectorAll(".tile").length === 1`)
	b.until("the address", `location.hash === "#q=mc-2&region=eu-west-1&state=healthy%2Cdegraded"`)
	if got := b.text("#count"); got != "1 of 6 controllers" {
		t.Errorf("got %q, want 1 of 6 controllers", got)
	}
	address := eval[string](b, "location.href")
	kept := eval[string](b, `JSON.stringify([location.href, document.documentElement.outerHTML, [...document.querySelectorAll("input")].map((i) => i.value), {...localStorage}, {...sessionStorage}, document.cookie])`)
	if strings.Contains(kept, goodToken) {
		t.Errorf("the token is in %s", kept)
	}

	shared := newTab(t)
	shared.navigate(address)
	shared.enterToken(goodToken)
	shared.until("the same tile", `[...document.querySelectorAll(".tile")].map((t) => t.dataset.id).join() === "mc-2"`)
	shared.click("#filters .plain")
	shared.until("all tiles", `document.querySelectorAll(".tile").length === 6`)

	// What is not in the filter any more leaves by itself.
	f.change(newController("mc-2", "eu-west-1", "unhealthy"), "degraded", epoch)
	shared.until("mc-2 unhealthy", stateIs("mc-2", "unhealthy"))
	shared.click("#token-button")
	shared.until("the dialog", `document.querySelector("dialog.token[open]")`)
	eval[bool](shared, `([...document.querySelectorAll("dialog button")].find((b) => b.innerText === "Forget the token").click(), true)`)
	shared.until("nothing shown without a token", `document.querySelectorAll(".tile").length === 0 && document.querySelectorAll(".region").length === 0`)
}

func TestKeysAreEnough(t *testing.T) {
	f := newFakeGC(t, smallFleet()...)
	f.handle("GET /api/v1/controllers/{id}/transitions", func(w http.ResponseWriter, r *http.Request) {
		c := newController(r.PathValue("id"), "eu-west-1", "unhealthy")
		older := transition(3, c, "healthy", epoch.Add(-time.Minute))
		older["reason"], older["cause"], older["actor"] = `<img src=x onerror=alert(1)>`, "operator", "alice"
		answer(w, http.StatusOK, object{"transitions": []any{transition(9, c, "degraded", epoch.Add(-time.Second)), older}, "next_after": 0, "next_before": 0})
	})
	b := opened(t, f, "")
	focused := func(id string) { b.until(id+" focused", fmt.Sprintf(`document.activeElement.dataset.id === "%s"`, id)) }
	b.press("/")
	b.until("the filter focused", `document.activeElement.id === "filter-text"`)
	b.press("Escape")
	focused("mc-1")
	b.press("ArrowRight") // →
	focused("mc-2")
	b.press("ArrowDown") // ↓
	focused("mc-4")
	b.press("Enter")
	b.until("the controller open", `!document.querySelector("#detail").hidden && document.querySelector("#detail h2").innerText === "mc-4"`)
	b.until("its history", `document.querySelectorAll(".timeline li").length === 2`)
	if got := b.text(".timeline"); !strings.Contains(got, "<img src=x onerror=alert(1)>") || !strings.Contains(got, "by alice") {
		t.Errorf("the history is %q, want the reason as text", got)
	}
	if got := b.text(".facts:last-of-type"); !strings.Contains(b.text("#detail"), "Last heartbeat\n4 s ago") {
		t.Errorf("the facts are %q, want an age by the store's clock", got)
	}
	f.change(newController("mc-4", "us-east-1", "healthy"), "draining", epoch)
	b.until("the history going on", `document.querySelectorAll(".timeline li").length === 3 && document.querySelector(".timeline li").innerText.includes("healthy")`)
	b.press("Escape")
	b.until("the controller closed", `document.querySelector("#detail").hidden`)
	focused("mc-4")
	b.press("?")
	b.until("the keys", `document.querySelector("dialog.keys[open]")`)
	b.press("Escape")
	b.until("no dialog", `!document.querySelector("dialog")`)
	focused("mc-4")
}

func TestADrainThatIsNotSafeAndComesTooLate(t *testing.T) {
	f := newFakeGC(t, smallFleet()...)
	region := func(serving, room int) object {
		return object{
			"region": "eu-west-1", "pending": 0, "healthy": serving, "degraded": 0, "unhealthy": 1, "draining": 0, "survives_largest_loss": false,
			"meetings": object{"max": room, "current": 60, "largest": 100, "free": 0, "free_without_largest": 0}, "participants": object{"max": room, "current": 60, "largest": 100, "free": 0, "free_without_largest": 0},
		}
	}
	var (
		generation atomic.Int64
		forced     atomic.Bool
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
			fail(w, http.StatusConflict, "CONFLICT", "The controller's generation has changed")
		case order.DryRun:
			answer(w, http.StatusOK, object{"health": c.Health, "plan": object{
				"safe": false, "reasons": []string{"eu-west-1 would have room for 50 meetings, and 60 run"}, "meetings_affected": 30, "participants_affected": 900, "before": region(2, 200), "after": region(1, 50),
			}})
		case !order.Force:
			fail(w, http.StatusConflict, "CONFLICT", "not safe")
		default:
			forced.Store(order.Reason == "upgrade" && order.Deadline == "2031-05-04T13:00:00.000Z")
			c.Health, c.OperatorDraining, c.Generation = "draining", true, 8
			f.change(c, "healthy", epoch)
			answer(w, http.StatusOK, object{"health": c.Health})
		}
	})
	f.handle("GET /api/v1/controllers/{id}", func(w http.ResponseWriter, _ *http.Request) {
		c := newController("mc-1", "eu-west-1", "healthy")
		c.Generation = int(generation.Load())
		answer(w, http.StatusOK, c)
	})
	f.handle("GET /api/v1/controllers/{id}/transitions", func(w http.ResponseWriter, _ *http.Request) {
		last := transition(9, newController("mc-1", "eu-west-1", "healthy"), "draining", epoch)
		last["cause"], last["actor"] = "operator", "bob"
		answer(w, http.StatusOK, object{"transitions": []any{last}, "next_after": 0, "next_before": 0})
	})
	b := opened(t, f, "")
	b.expect("409")
	b.click(`[data-id="mc-1"]`)
	b.click("#detail .order")
	b.until("the plan", `document.querySelector("dialog .plan")?.innerText.includes("would have room for 50 meetings")`)
	if eval[bool](b, `!document.querySelector("dialog .danger").disabled`) {
		t.Error("a drain that is not safe can be ordered without saying so")
	}
	b.shoot("drain-not-safe")
	b.fill("#reason", "upgrade")
	b.fill("#deadline", "1 h")
	b.click("#force")
	generation.Store(7)
	b.click("dialog .danger")
	b.until("who was faster", `document.querySelector("dialog .problem").innerText.includes("bob")`)
	b.until("a new plan", `document.querySelector("dialog .plan")?.innerText.includes("would have room") && document.querySelector("dialog .danger").disabled`)
	b.click("#force")
	b.click("dialog .danger")
	b.until("no dialog", `!document.querySelector("dialog")`)
	b.until("mc-1 drains", stateIs("mc-1", "draining"))
	if !forced.Load() {
		t.Error("the order has another reason or deadline than was entered, or is not by the store's clock")
	}
}
