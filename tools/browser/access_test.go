package browser

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// probe makes an element that shows a colour of the style sheet, as the theme has it.
const probe = `((name) => { const e = document.createElement("i"); e.style.color = "var(--" + name + ")"; document.body.append(e); const c = getComputedStyle(e).color; e.remove(); return c; })(%q)`

type colour [3]float64 // linear light, 0 to 1

func colourOf(b *tab, name string) colour {
	b.t.Helper()
	text := eval[string](b, fmt.Sprintf(probe, name))
	var c colour
	if _, err := fmt.Sscanf(text, "rgb(%f, %f, %f)", &c[0], &c[1], &c[2]); err != nil {
		b.t.Fatalf("--%s is %q, want a colour", name, text)
	}
	for i, v := range c {
		if v /= 255; v <= 0.04045 {
			c[i] = v / 12.92
		} else {
			c[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return c
}

func (c colour) luminance() float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }

// contrast is that of WCAG 2, 1 to 21.
func contrast(a, b colour) float64 {
	light, dark := max(a.luminance(), b.luminance()), min(a.luminance(), b.luminance())
	return (light + 0.05) / (dark + 0.05)
}

// The matrices by which Machado, Oliveira and Fernandes (2009) show what somebody sees who lacks a kind of cones.
var sights = map[string][9]float64{
	"all colours":  {1, 0, 0, 0, 1, 0, 0, 0, 1},
	"protanopia":   {0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998},
	"deuteranopia": {0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881},
	"tritanopia":   {1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900},
}

func (c colour) seen(m [9]float64) colour {
	var s colour
	for i := range s {
		s[i] = min(1, max(0, m[3*i]*c[0]+m[3*i+1]*c[1]+m[3*i+2]*c[2]))
	}
	return s
}

// lab is the colour in CIELAB, where distances are about as large as they look.
func (c colour) lab() [3]float64 {
	f := func(t float64) float64 {
		if t > 0.008856 {
			return math.Cbrt(t)
		}
		return 7.787*t + 16.0/116
	}
	x, y, z := f((0.4124*c[0]+0.3576*c[1]+0.1805*c[2])/0.95047), f(c.luminance()), f((0.0193*c[0]+0.1192*c[1]+0.9505*c[2])/1.08883)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

// TestColoursCanBeReadAndToldApart holds a contrast of 4.5 for text in both themes, and that the five states look different
// to those who see fewer colours: 20 in CIELAB is far more than a shade.
func TestColoursCanBeReadAndToldApart(t *testing.T) {
	f := newFakeGC(t)
	b := newTab(t)
	b.navigate(f.URL)
	states := []string{"pending", "healthy", "degraded", "unhealthy", "draining"}
	for _, theme := range []string{"light", "dark"} {
		b.media(map[string]string{"prefers-color-scheme": theme})
		pairs := [][2]string{{"on-accent", "accent"}, {"on-danger", "danger"}}
		for _, state := range states {
			pairs = append(pairs, [2]string{"on-" + state, state})
		}
		for _, ground := range []string{"page", "panel", "sunk"} {
			pairs = append(pairs, [2]string{"text", ground}, [2]string{"muted", ground})
		}
		pairs = append(pairs, [2]string{"danger", "panel"}, [2]string{"accent", "page"})
		for _, pair := range pairs {
			if got := contrast(colourOf(b, pair[0]), colourOf(b, pair[1])); got < 4.5 {
				t.Errorf("%s: --%s on --%s has a contrast of %.2f, want at least 4.5", theme, pair[0], pair[1], got)
			}
		}
		for sight, matrix := range sights {
			for i, one := range states {
				for _, other := range states[i+1:] {
					a, c := colourOf(b, one).seen(matrix).lab(), colourOf(b, other).seen(matrix).lab()
					if got := math.Hypot(math.Hypot(a[0]-c[0], a[1]-c[1]), a[2]-c[2]); got < 20 {
						t.Errorf("%s, %s: %s and %s are %.0f apart, want at least 20", theme, sight, one, other, got)
					}
				}
			}
		}
	}
	// The switch on the page wins over the system.
	b.press("Escape")
	eval[bool](b, `((s) => { s.value = "light"; s.dispatchEvent(new Event("change")); return true; })(document.querySelector("#theme"))`)
	if got := contrast(colourOf(b, "page"), colour{1, 1, 1}); got > 1.5 {
		t.Errorf("with the switch on light the page has a contrast of %.1f to white, want it light", got)
	}
}

// TestEverythingHasANameAndAPlace: what can be used has a name, the Tab key reaches everything once in the order in which
// it stands, and nothing is wider than a small screen.
func TestEverythingHasANameAndAPlace(t *testing.T) {
	f := newFakeGC(t, append(smallFleet(), newController("mc-"+strings.Repeat("long", 30), strings.Repeat("region", 20), "healthy"))...)
	b := opened(t, f, "")
	b.expect("404") // The fake server has no history.
	nameless := `[...document.querySelectorAll("button, input, select, a[href], [role=option], [tabindex='0']")].filter((e) => e.checkVisibility())
		.filter((e) => !(e.getAttribute("aria-label") || e.innerText?.trim() && e.tagName !== "SELECT" || e.labels?.length || document.getElementById(e.getAttribute("aria-labelledby")))).map((e) => e.outerHTML.slice(0, 90)).join("\n")`
	wide := `[document.documentElement.scrollWidth > innerWidth ? "the document is " + document.documentElement.scrollWidth : "", ...[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.closest(".hidden, .skip, option, [aria-live]"))
		.filter((e) => { const r = e.getBoundingClientRect(); return r.width > 0 && (r.right > innerWidth + 1 || r.left < -1) && getComputedStyle(e.parentElement).overflowX === "visible"; }).map((e) => e.outerHTML.slice(0, 90))].filter(Boolean).join("\n")`
	look := func(what string) {
		t.Helper()
		if got := eval[string](b, nameless); got != "" {
			t.Errorf("%s: without a name:\n%s", what, got)
		}
		for _, width := range []int64{360, 700, 1100, 1440} {
			b.size(width, 740)
			b.until("frames", `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
			if got := eval[string](b, wide); got != "" {
				t.Errorf("%s: wider than %d:\n%s", what, width, got)
			}
			if width == 360 {
				b.shoot("narrow-" + what)
			}
		}
	}
	look("fleet")
	eval[bool](b, `(document.activeElement.blur(), true)`)
	var stops []string
	for range 40 {
		b.press("Tab")
		stop := eval[string](b, `((e) => e === document.body ? "" : e.id || e.dataset.id || e.innerText?.trim() || e.getAttribute("aria-label"))(document.activeElement)`)
		if stop == "" {
			break
		}
		stops = append(stops, strings.Join(strings.Fields(stop), " "))
	}
	long := strings.Repeat("region", 20)
	want := "Skip to the controllers|theme|keys-button|token-button|eu-west-1|" + long + "|us-east-1|filter-text|… pending 1|✓ healthy 3|! degraded 1|× unhealthy 1|↓ draining 1|placeable only|order|size|mc-1"
	if got := strings.Join(stops, "|"); got != want {
		t.Errorf("the Tab key goes to\n%s, want\n%s", got, want)
	}
	b.click(`[data-id^="mc-long"]`)
	b.until("the detail", `!document.querySelector("#detail").hidden`)
	b.until("that the history cannot be read", `!document.querySelector(".history .problem").hidden`)
	look("detail")
	b.press("d")
	b.until("the dialog", `document.querySelector("dialog.drain[open]")`)
	look("drain")
	b.press("Escape")
	b.press("Escape")
	b.press("?")
	look("keys")
}
