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

// TestPage_BelowAPathPrefix has a proxy that serves the page at /gc/ and takes the prefix away.
func TestPage_BelowAPathPrefix(t *testing.T) {
	f := newFakeGC(t, smallFleet()...)
	f.handle("GET /api/v1/controllers/{id}/transitions", func(w http.ResponseWriter, r *http.Request) {
		c := newController(r.PathValue("id"), "eu-west-1", "healthy")
		answer(w, http.StatusOK, object{"transitions": []any{transition(9, c, "pending", epoch)}, "next_after": 0, "next_before": 0})
	})
	upstream, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu      sync.Mutex
		outside []string
	)
	mux := http.NewServeMux()
	mux.Handle("/gc/", http.StripPrefix("/gc", &httputil.ReverseProxy{
		FlushInterval: -1, // The watch must not wait in a buffer.
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		outside = append(outside, r.URL.Path)
		http.NotFound(w, r)
	})
	proxy := httptest.NewServer(mux)
	t.Cleanup(func() { f.hangUp(); proxy.CloseClientConnections(); proxy.Close() })

	b := newTab(t)
	b.navigate(proxy.URL + "/gc/")
	b.enterToken(goodToken)
	b.until("six tiles", `document.querySelectorAll(".tile").length === 6`)
	b.until("live", `document.querySelector("#connection").dataset.state === "live"`)
	f.change(newController("mc-1", "eu-west-1", "unhealthy"), "healthy", epoch.Add(time.Second))
	b.until("a change", stateIs("mc-1", "unhealthy"))
	b.click(`[data-id="mc-2"]`)
	b.until("its history", `document.querySelectorAll(".timeline li").length === 1`)
	if got := eval[string](b, "location.pathname"); got != "/gc/" {
		t.Errorf("the page is at %s, want it below its prefix still", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(outside) > 0 {
		t.Errorf("the page asked for %q, which is outside of its prefix", outside)
	}
}

// TestTiles_NamesAreCutInTheMiddle holds that names of one kind, which differ at their ends, can be told apart.
func TestTiles_NamesAreCutInTheMiddle(t *testing.T) {
	var fleet []controller
	for i := range 3 {
		fleet = append(fleet, newController(fmt.Sprintf("meeting-controller-production-eu-west-1-%04d", i), "eu-west-1-availability-zone-with-a-long-name-"+fmt.Sprint(i), "healthy"))
	}
	fleet = append(fleet, newController("mc-1", "eu", "healthy"), newController("m", "eu", "healthy"))
	b := opened(t, newFakeGC(t, fleet...), "")
	const shown = `[...document.querySelectorAll(".tile")].map((tile) => {
		const [head, tail] = tile.querySelector(".id").children;
		const box = tile.querySelector(".face").getBoundingClientRect(), end = tail.getBoundingClientRect();
		return [tile.dataset.id, head.textContent + tail.textContent, tail.textContent, head.scrollWidth > head.clientWidth ? "cut" : "whole",
			end.right <= box.right && end.width > 0 ? "inside" : "outside", tile.title.startsWith(tile.dataset.id + ",") && tile.ariaLabel.startsWith(tile.dataset.id + ",") ? "named" : "unnamed"].join(" ");
	}).join("\n")`
	got := eval[string](b, shown)
	for line := range strings.Lines(got) {
		fields := strings.Fields(line)
		if len(fields) != 6 || fields[0] != fields[1] || !strings.HasSuffix(fields[0], fields[2]) || fields[4] != "inside" || fields[5] != "named" {
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

// TestPageClock holds that the clock does not go back for a message that is late, that it follows a store whose clock was
// set back, and that such a store is not called silent meanwhile.
func TestPageClock(t *testing.T) {
	t.Parallel()
	f := newFakeGC(t, newController("mc-1", "eu-west-1", "healthy"))
	f.handle("GET /api/v1/controllers/{id}/transitions", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, object{"transitions": []any{}, "next_after": 0, "next_before": 0})
	})
	b := opened(t, f, "")
	b.click(`[data-id="mc-1"]`)
	f.send(event("beat", object{"as_of": epoch.Add(20 * time.Second)}))
	b.until("the age", `document.querySelector("#detail").innerText.includes("Last heartbeat\n24 s ago")`)

	// The store's clock was set back by an hour, and goes on from there.
	began := time.Now()
	for moved := 0; !eval[bool](b, `document.querySelector("#detail").innerText.includes("Last heartbeat\n1 s ago")`); moved++ {
		if time.Since(began) > 2*patience {
			t.Fatalf("the page does not follow the store's clock: %s", b.text("#detail"))
		}
		now := epoch.Add(-time.Hour).Add(time.Since(began))
		f.send(event("loads", object{"as_of": now, "loads": []any{object{
			"controller_id": "mc-1", "current_meetings": 30, "current_participants": 900, "cpu_usage_percent": nil, "memory_usage_percent": nil,
			"last_heartbeat_at": now.Add(-1500 * time.Millisecond), "drained": false,
		}}}))
		if state := eval[string](b, `document.querySelector("#connection").dataset.state`); state != "live" {
			t.Fatalf("after %v the page is %s, want it live: the store answers", time.Since(began), state)
		}
		time.Sleep(time.Second)
	}
	if took := time.Since(began); took < 9*time.Second {
		t.Errorf("the page went back after %v: a replica that lags would do that", took)
	}

	// A message that is late does not move it.
	at := epoch.Add(-time.Hour).Add(time.Minute)
	f.send(event("beat", object{"as_of": at}))
	f.send(event("beat", object{"as_of": at.Add(-30 * time.Second)}))
	f.send(event("beat", object{"as_of": at.Add(-20 * time.Second)}))
	clock := eval[string](b, `(async () => { await new Promise((done) => setTimeout(done, 500)); return document.querySelector("#detail").innerText; })()`)
	_, age, _ := strings.Cut(clock, "Last heartbeat\n")
	var seconds int
	if _, err := fmt.Sscanf(age, "%d s ago", &seconds); err != nil || seconds < 30 {
		t.Errorf("after late messages the last heartbeat was %q, want an age by the latest of them", strings.SplitN(age, "\n", 2)[0])
	}
}
