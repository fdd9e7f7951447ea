package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPage_WorksBelowPathPrefix serves the page through a proxy at /gc/ that removes the prefix.
func TestPage_WorksBelowPathPrefix(t *testing.T) {
	f := newFakeServer(t, newSmallFleet()...)
	f.handle("GET /api/v1/controllers/{id}/transitions", func(w http.ResponseWriter, r *http.Request) {
		c := newController(r.PathValue("id"), "eu-west-1", "healthy")
		writeTransitions(w, newTransition(9, c, "pending", epoch))
	})
	upstream, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}

	var (
		mu      sync.Mutex
		outside []string // the paths of requests outside of the prefix
	)
	mux := http.NewServeMux()
	mux.Handle("/gc/", http.StripPrefix("/gc", &httputil.ReverseProxy{
		FlushInterval: -1, // The proxy must not buffer the watch.
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		outside = append(outside, r.URL.Path)
		http.NotFound(w, r)
	})

	proxy := httptest.NewServer(mux)
	t.Cleanup(func() {
		f.endStream()
		proxy.CloseClientConnections()
		proxy.Close()
	})

	b := newTab(t)
	b.navigate(proxy.URL + "/gc/")
	b.enterToken(goodToken)
	b.waitFor("six tiles", `document.querySelectorAll(".tile").length === 6`)
	b.waitFor("live", `document.querySelector("#connection").dataset.state === "live"`)
	f.sendChange(newController("mc-1", "eu-west-1", "unhealthy"), "healthy", epoch.Add(time.Second))
	b.waitFor("a change", hasState("mc-1", "unhealthy"))
	b.click(`[data-id="mc-2"]`)
	b.waitFor("the history", `document.querySelectorAll(".timeline li").length === 1`)
	if got := eval[string](b, "location.pathname"); got != "/gc/" {
		t.Errorf("the page is at %s, want it below the prefix", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(outside) > 0 {
		t.Errorf("the page requested %q outside of its prefix", outside)
	}
}

// TestTile_LongNameIsCutInMiddle checks that tiles show the ends of long names, because names of one kind differ there.
func TestTile_LongNameIsCutInMiddle(t *testing.T) {
	var fleet []controller
	for i := range 3 {
		id := fmt.Sprintf("meeting-controller-production-eu-west-1-%04d", i)
		region := fmt.Sprintf("eu-west-1-availability-zone-with-a-long-name-%d", i)
		fleet = append(fleet, newController(id, region, "healthy"))
	}

	fleet = append(fleet, newController("mc-1", "eu", "healthy"), newController("m", "eu", "healthy"))

	b := openPage(t, newFakeServer(t, fleet...), "")
	const shown = `[...document.querySelectorAll(".tile")].map((tile) => {
		const { id } = tile.dataset;
		const [head, tail] = tile.querySelector(".id").children;
		const box = tile.querySelector(".face").getBoundingClientRect();
		const end = tail.getBoundingClientRect();
		return [
			id,
			head.textContent + tail.textContent,
			tail.textContent,
			head.scrollWidth > head.clientWidth ? "cut" : "whole",
			end.right <= box.right && end.width > 0 ? "inside" : "outside",
			[tile.title, tile.ariaLabel].every((label) => label.startsWith(id + ",")) ? "named" : "unnamed",
		].join(" ");
	}).join("\n")`

	got := eval[string](b, shown)
	for line := range strings.Lines(got) {
		fields := strings.Fields(line)
		if len(fields) != 6 || fields[0] != fields[1] || !strings.HasSuffix(fields[0], fields[2]) ||
			fields[4] != "inside" || fields[5] != "named" {
			t.Errorf("a tile shows %q, want its end inside and the whole name in its title", line)
			continue
		}
		if want := map[bool]string{true: "cut", false: "whole"}[len(fields[0]) > 30]; fields[3] != want {
			t.Errorf("a tile shows %q, want the beginning %s", line, want)
		}
	}
	if n := strings.Count(got, "\n"); n != 4 {
		t.Errorf("%d tiles, want 5:\n%s", n+1, got)
	}
}

// TestFleet_ClockFollowsStoreThatWasSetBack checks that the page's clock follows a store whose clock was set back, but not a late
// message. It also checks that the page shows such a store as live.
func TestFleet_ClockFollowsStoreThatWasSetBack(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, newController("mc-1", "eu-west-1", "healthy"))
	f.handle("GET /api/v1/controllers/{id}/transitions", func(w http.ResponseWriter, _ *http.Request) {
		writeTransitions(w)
	})
	b := openPage(t, f, "")
	b.click(`[data-id="mc-1"]`)
	f.send(encodeEvent("beat", object{"as_of": epoch.Add(20 * time.Second)}))
	b.waitFor("the age", `document.querySelector("#detail").innerText.includes("Last heartbeat\n24 s ago")`)

	// The store's clock is set back by an hour and continues from there.
	began := time.Now()
	for !eval[bool](b, `document.querySelector("#detail").innerText.includes("Last heartbeat\n1 s ago")`) {
		if time.Since(began) > 2*waitTimeout {
			t.Fatalf("the page does not follow the store's clock: %s", b.innerText("#detail"))
		}

		now := epoch.Add(-time.Hour).Add(time.Since(began))
		f.send(encodeEvent("loads", object{"as_of": now, "loads": []any{object{
			"controller_id":        "mc-1",
			"current_meetings":     30,
			"current_participants": 900,
			"cpu_usage_percent":    nil,
			"memory_usage_percent": nil,
			"last_heartbeat_at":    now.Add(-1500 * time.Millisecond),
			"drained":              false,
		}}}))

		if state := eval[string](b, `document.querySelector("#connection").dataset.state`); state != "live" {
			t.Fatalf("after %v the page is %s, want it live: the store responds", time.Since(began), state)
		}
		time.Sleep(time.Second)
	}
	if took := time.Since(began); took < 9*time.Second {
		t.Errorf("the page's clock moved back after %v, want at least 9 s: a replica may lag", took)
	}

	// Late messages do not move the clock.
	at := epoch.Add(-time.Hour).Add(time.Minute)
	f.send(encodeEvent("beat", object{"as_of": at}))
	f.send(encodeEvent("beat", object{"as_of": at.Add(-30 * time.Second)}))
	f.send(encodeEvent("beat", object{"as_of": at.Add(-20 * time.Second)}))
	detail := eval[string](b, `(async () => {
		await new Promise((done) => setTimeout(done, 500));
		return document.querySelector("#detail").innerText;
	})()`)
	_, age, _ := strings.Cut(detail, "Last heartbeat\n")
	var seconds int
	if _, err := fmt.Sscanf(age, "%d s ago", &seconds); err != nil || seconds < 30 {
		t.Errorf("after late messages the last heartbeat was %q, want its age at the latest of them", strings.SplitN(age, "\n", 2)[0])
	}
}
