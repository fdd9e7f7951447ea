package browser

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// colourExpression returns a colour of the style sheet in the present theme.
const colourExpression = `((name) => {
	const e = document.createElement("i");
	e.style.color = "var(--" + name + ")";
	document.body.append(e);
	const colour = getComputedStyle(e).color;
	e.remove();
	return colour;
})(%q)`

// colour is a colour in linear light, each part from 0 to 1.
type colour [3]float64

func readColour(b *tab, name string) colour {
	b.t.Helper()
	text := eval[string](b, fmt.Sprintf(colourExpression, name))
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

// contrast is the contrast of WCAG 2, from 1 to 21.
func contrast(a, b colour) float64 {
	light, dark := max(a.luminance(), b.luminance()), min(a.luminance(), b.luminance())
	return (light + 0.05) / (dark + 0.05)
}

// colourVisions are the matrices of Machado, Oliveira and Fernandes (2009) that simulate colour blindness.
var colourVisions = map[string][9]float64{
	"all colours":  {1, 0, 0, 0, 1, 0, 0, 0, 1},
	"protanopia":   {0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998},
	"deuteranopia": {0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881},
	"tritanopia":   {1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900},
}

func (c colour) simulate(m [9]float64) colour {
	var s colour
	for i := range s {
		s[i] = min(1, max(0, m[3*i]*c[0]+m[3*i+1]*c[1]+m[3*i+2]*c[2]))
	}
	return s
}

// lab is the colour in CIELAB, where distances match the differences that people see.
func (c colour) lab() [3]float64 {
	f := func(t float64) float64 {
		if t > 0.008856 {
			return math.Cbrt(t)
		}
		return 7.787*t + 16.0/116
	}

	x := f((0.4124*c[0] + 0.3576*c[1] + 0.1805*c[2]) / 0.95047)
	y := f(c.luminance())
	z := f((0.0193*c[0] + 0.1192*c[1] + 0.9505*c[2]) / 1.08883)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

// colourPairs are the colours of text with those of their backgrounds.
func colourPairs() [][2]string {
	pairs := [][2]string{{"on-accent", "accent"}, {"on-danger", "danger"}, {"danger", "panel"}, {"accent", "page"}}
	for _, state := range allStates {
		pairs = append(pairs, [2]string{"on-" + state, state})
	}
	for _, background := range []string{"page", "panel", "sunk"} {
		pairs = append(pairs, [2]string{"text", background}, [2]string{"muted", background})
	}
	return pairs
}

// distance is the distance of two colours in CIELAB.
func distance(a, b colour) float64 {
	x, y := a.lab(), b.lab()
	return math.Hypot(math.Hypot(x[0]-y[0], x[1]-y[1]), x[2]-y[2])
}

// allStates are the public states.
var allStates = []string{"pending", "healthy", "degraded", "unhealthy", "draining"}

// TestColours_AreReadableAndDiffer checks that text has a contrast of 4.5 in both themes. It also checks that the five states
// differ by 20 in CIELAB, which is easy to see, with every kind of colour blindness.
func TestColours_AreReadableAndDiffer(t *testing.T) {
	f := newFakeServer(t)
	b := newTab(t)
	b.navigate(f.URL)

	for _, theme := range []string{"light", "dark"} {
		b.emulateMedia(map[string]string{"prefers-color-scheme": theme})
		for _, pair := range colourPairs() {
			if got := contrast(readColour(b, pair[0]), readColour(b, pair[1])); got < 4.5 {
				t.Errorf("%s: --%s on --%s has a contrast of %.2f, want at least 4.5", theme, pair[0], pair[1], got)
			}
		}

		for vision, matrix := range colourVisions {
			for i, one := range allStates {
				for _, other := range allStates[i+1:] {
					got := distance(readColour(b, one).simulate(matrix), readColour(b, other).simulate(matrix))
					if got < 20 {
						t.Errorf("%s, %s: %s and %s have a distance of %.0f, want at least 20", theme, vision, one, other, got)
					}
				}
			}
		}
	}

	// The theme that is chosen on the page overrides the system's.
	b.press("Escape")
	eval[bool](b, `((select) => {
		select.value = "light";
		select.dispatchEvent(new Event("change"));
		return true;
	})(document.querySelector("#theme"))`)
	if got := contrast(readColour(b, "page"), colour{1, 1, 1}); got > 1.5 {
		t.Errorf("with the light theme the page has a contrast of %.1f to white, want it light", got)
	}
}

// unnamedElements lists the elements that can be used and have no name for a screen reader.
const unnamedElements = `[...document.querySelectorAll("button, input, select, a[href], [role=option], [tabindex='0']")]
	.filter((e) => e.checkVisibility())
	.filter((e) => !(e.getAttribute("aria-label") || e.innerText?.trim() && e.tagName !== "SELECT" || e.labels?.length ||
		document.getElementById(e.getAttribute("aria-labelledby"))))
	.map((e) => e.outerHTML.slice(0, 90)).join("\n")`

// elementsTooWide lists the elements that are wider than the screen.
const elementsTooWide = `[
	document.documentElement.scrollWidth > innerWidth ? "the document is " + document.documentElement.scrollWidth : "",
	...[...document.querySelectorAll("body *")]
		.filter((e) => e.checkVisibility() && !e.closest(".hidden, .skip, option, [aria-live]"))
		.filter((e) => {
			const box = e.getBoundingClientRect();
			const isOutside = box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
			return isOutside && getComputedStyle(e.parentElement).overflowX === "visible";
		})
		.map((e) => e.outerHTML.slice(0, 90)),
].filter(Boolean).join("\n")`

// checkElements checks names and widths on screens of several sizes.
func (b *tab) checkElements(view string) {
	b.t.Helper()
	if got := eval[string](b, unnamedElements); got != "" {
		b.t.Errorf("%s: elements without a name:\n%s", view, got)
	}

	for _, width := range []int64{360, 700, 1100, 1440} {
		b.resize(width, 740)
		b.waitFor("two frames", `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
		if got := eval[string](b, elementsTooWide); got != "" {
			b.t.Errorf("%s: elements wider than %d:\n%s", view, width, got)
		}
		if width == 360 {
			b.screenshot("narrow-" + view)
		}
	}
}

// collectTabStops presses the Tab key until the focus leaves the page, and returns the names of the elements that it reached.
func (b *tab) collectTabStops() (stops []string) {
	b.t.Helper()
	eval[bool](b, `(document.activeElement.blur(), true)`)
	for range 40 {
		b.press("Tab")
		stop := eval[string](b, `((e) => e === document.body
			? ""
			: e.id || e.dataset.id || e.innerText?.trim() || e.getAttribute("aria-label"))(document.activeElement)`)
		if stop == "" {
			break
		}
		stops = append(stops, strings.Join(strings.Fields(stop), " "))
	}
	return stops
}

// TestPage_ElementsHaveNamesAndFitScreen checks that every control has a name, and that no element is wider than a small screen. It
// also checks that the Tab key reaches every control once, in order.
func TestPage_ElementsHaveNamesAndFitScreen(t *testing.T) {
	longRegion := strings.Repeat("region", 20)
	f := newFakeServer(t, append(newSmallFleet(), newController("mc-"+strings.Repeat("long", 30), longRegion, "healthy"))...)
	b := openPage(t, f, "")
	b.expectMessage("404") // The fake server has no history.

	b.checkElements("fleet")
	want := "Skip to the controllers|theme|keys-button|token-button|eu-west-1|" + longRegion + "|us-east-1|filter-text|" +
		"… pending 1|✓ healthy 3|! degraded 1|× unhealthy 1|↓ draining 1|accepts meetings|order|size|mc-1"
	if got := strings.Join(b.collectTabStops(), "|"); got != want {
		t.Errorf("the Tab key reaches\n%s, want\n%s", got, want)
	}

	b.click(`[data-id^="mc-long"]`)
	b.waitFor("the detail", `!document.querySelector("#detail").hidden`)
	b.waitFor("the history's error", `!document.querySelector(".history .problem").hidden`)
	b.checkElements("detail")

	b.press("d")
	b.waitFor("the drain dialog", `document.querySelector("dialog.drain[open]")`)
	b.checkElements("drain")

	b.press("Escape")
	b.press("Escape")
	b.press("?")
	b.checkElements("keys")
}
