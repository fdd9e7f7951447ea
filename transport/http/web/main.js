// The page: the fleet comes over the watch, and is drawn at most once a frame.

import { Announcer } from "./announce.js";
import { forgetToken, hasToken } from "./api.js";
import { Detail } from "./detail.js";
import { isDialogOpen, openKeys } from "./dialog.js";
import { byID, setText } from "./dom.js";
import { openDrain, openUndrain } from "./drain.js";
import { regionsOf } from "./facts.js";
import { FilterBar } from "./filterbar.js";
import { Filters } from "./filters.js";
import { Fleet } from "./fleet.js";
import { number } from "./format.js";
import { Regions } from "./regions.js";
import { showConnection, showTotals } from "./status.js";
import { Tiles } from "./tiles.js";
import { askToken } from "./token.js";
import { Watch } from "./watch.js";

// Sums are drawn less often than tiles: nobody reads figures that change 60 times a second.
const sumsEvery = 250;
// A large fleet is drawn this often at most, in milliseconds, so that the browser has time for whoever uses the page.
const drawEvery = 100;
const largeFleet = 1000;

let frame = 0;
let drawn = 0;
let summed = 0;
let sumTimer = 0;

const filters = new Filters();
filters.read(location.hash);
const fleet = new Fleet(drawSoon);
const announcer = new Announcer(byID("announcements"));
const detail = new Detail(byID("detail"), fleet, { onClose: () => show(""), onOrder: order });
const tiles = new Tiles(byID("tiles"), byID("empty"), fleet, filters, {
  onOpen: (id) => { show(id); detail.focus(); },
  onCount: (shown) => {
    const total = fleet.controllers.size;
    setText(byID("count"), total === 0 ? "" : shown === total ? `All ${number(total)} controllers` : `${number(shown)} of ${number(total)} controllers`);
    setText(byID("empty"), "No controller matches the filters.");
  },
});
const regions = new Regions(byID("regions"), filters, (region) => { filters.region = region; refilter(); });
const bar = new FilterBar(byID("filters"), filters, refilter);
const watch = new Watch(fleet, showConnection, (err) => {
  forgetToken();
  ask(err.message);
});

function drawSoon() {
  if (frame !== 0) return;
  const wait = fleet.controllers.size > largeFleet ? drawn + drawEvery - performance.now() : 0;
  if (wait <= 0) frame = requestAnimationFrame(draw);
  else frame = setTimeout(() => requestAnimationFrame(draw), wait);
}

function draw() {
  frame = 0;
  drawn = performance.now();
  const news = fleet.take();
  tiles.apply(news);
  // What the address says is open can be read only now that there is a token.
  if (news.whole && filters.open !== detail.id) show(filters.open);
  else if (news.whole) tiles.select(filters.open);
  detail.apply(news);
  announcer.apply(news);
  if (news.whole || performance.now() - summed > sumsEvery) sums();
  else sumTimer ||= setTimeout(sums, sumsEvery);
}

function sums() {
  clearTimeout(sumTimer);
  sumTimer = 0;
  summed = performance.now();
  const all = regionsOf(fleet.controllers.values());
  regions.show(all);
  bar.count(all);
  showTotals(all);
}

function refilter() {
  tiles.refilter();
  bar.show();
  sums();
  remember();
}

// remember writes the filters into the address without a step in the browser's history for each letter.
function remember() {
  const text = filters.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname);
}

// show opens a controller, or none.
function show(id) {
  const before = detail.id;
  filters.open = id;
  byID("panes").classList.toggle("open", id !== "");
  if (id) detail.open(id);
  else detail.close();
  tiles.select(id);
  remember();
  if (!id && before) tiles.focus(before);
}

function order(id) {
  const c = fleet.controllers.get(id);
  if (!c) return;
  const done = (text) => announcer.say(text);
  if (c.operator_draining) openUndrain(c, done);
  else openDrain(fleet, c, done);
}

function ask(problem) {
  askToken({
    problem,
    onToken: () => watch.start(true),
    onForget: () => {
      watch.stop();
      show("");
      fleet.forget();
    },
  });
}

addEventListener("hashchange", () => {
  filters.read(location.hash);
  const { open } = filters;
  refilter();
  if (hasToken()) show(open);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  // The address holds the filters.
  event.preventDefault();
  tiles.focus();
});
addEventListener("online", () => watch.retry());
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || isDialogOpen()) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape" && (detail.id || typing)) {
    if (typing?.id === "filter-text" && !detail.id) tiles.focus();
    else show("");
  } else if (typing) {
    return;
  } else if (event.key === "/") {
    byID("filter-text").focus();
  } else if (event.key === "?") {
    openKeys();
  } else if (event.key === "d" && hasToken()) {
    order(detail.id || tiles.currentID);
  } else {
    return;
  }
  event.preventDefault();
});
byID("theme").addEventListener("change", (event) => {
  if (event.target.value) document.documentElement.dataset.theme = event.target.value;
  else delete document.documentElement.dataset.theme;
});
byID("keys-button").addEventListener("click", openKeys);
byID("token-button").addEventListener("click", () => ask(""));
ask("");
