// The page: it connects the modules. Watch receives the fleet, and draw shows it at most once a frame.

import { Announcer } from "./announce.js";
import { forgetToken, hasToken } from "./api.js";
import { sumRegions } from "./capacity.js";
import { Detail } from "./detail.js";
import { isDialogOpen, openKeysDialog } from "./dialog.js";
import { byID, setText } from "./dom.js";
import { DrainDialog, UndrainDialog } from "./drain.js";
import { FilterBar } from "./filterbar.js";
import { Filters } from "./filters.js";
import { Fleet } from "./fleet.js";
import { formatNumber } from "./format.js";
import { Regions } from "./regions.js";
import { showConnection, showTotals } from "./status.js";
import { Tiles } from "./tiles.js";
import { askForToken } from "./token.js";
import { Watch } from "./watch.js";

// All times are in milliseconds. Sums are drawn less often than tiles: figures that change 60 times a second cannot be read.
const sumInterval = 250;
// A large fleet is drawn less often, so that the browser has time for the user's input.
const largeFleet = 1000;
const largeFleetDrawInterval = 100;

let frame = 0;
let drawnAt = 0;
let summedAt = 0;
let sumTimer = 0;

const filters = new Filters();
filters.read(location.hash);
const fleet = new Fleet(drawLater);
const announcer = new Announcer(byID("announcements"));
const detail = new Detail(byID("detail"), fleet, { onClose: () => openController(""), onDrain: openDrainDialog });
const tiles = new Tiles(byID("tiles"), byID("empty"), fleet, filters, {
  onOpen: (id) => { openController(id); detail.focus(); },
  onCount: showCount,
});
const regions = new Regions(byID("regions"), filters, (region) => { filters.region = region; applyFilters(); });
const filterBar = new FilterBar(byID("filters"), filters, applyFilters);
const watch = new Watch(fleet, showConnection, (err) => {
  forgetToken();
  openTokenDialog(err.message);
});

function drawLater() {
  if (frame !== 0) return;
  const delay = fleet.controllers.size > largeFleet ? drawnAt + largeFleetDrawInterval - performance.now() : 0;
  if (delay <= 0) frame = requestAnimationFrame(draw);
  else frame = setTimeout(() => requestAnimationFrame(draw), delay);
}

function draw() {
  frame = 0;
  drawnAt = performance.now();
  const update = fleet.takeUpdate();
  tiles.apply(update);

  // The controller that the address names can be opened after the first snapshot only.
  if (update.isSnapshot && filters.open !== detail.id) openController(filters.open);
  else if (update.isSnapshot) tiles.select(filters.open);

  detail.apply(update);
  announcer.apply(update);
  if (update.isSnapshot || performance.now() - summedAt > sumInterval) drawSums();
  else sumTimer ||= setTimeout(drawSums, sumInterval);
}

function drawSums() {
  clearTimeout(sumTimer);
  sumTimer = 0;
  summedAt = performance.now();
  const sums = sumRegions(fleet.controllers.values());
  regions.show(sums);
  filterBar.showCounts(sums);
  showTotals(sums);
}

function showCount(shown) {
  const total = fleet.controllers.size;
  const part = shown === total ? "All" : `${formatNumber(shown)} of`;
  setText(byID("count"), total === 0 ? "" : `${part} ${formatNumber(total)} controllers`);
  setText(byID("empty"), "No controller matches the filters.");
}

function applyFilters() {
  tiles.refilter();
  filterBar.show();
  drawSums();
  updateAddress();
}

// updateAddress writes the filters into the address, without an entry in the browser's history for each letter.
function updateAddress() {
  const text = filters.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname);
}

// openController opens the panel of a controller, and closes the panel for "".
function openController(id) {
  const previousID = detail.id;
  filters.open = id;
  byID("panes").classList.toggle("open", id !== "");
  if (id) detail.open(id);
  else detail.close();
  tiles.select(id);
  updateAddress();
  if (!id && previousID) tiles.focus(previousID);
}

function openDrainDialog(id) {
  const c = fleet.controllers.get(id);
  if (!c) return;
  const onDone = (text) => announcer.announce(text);
  const dialog = c.operator_draining ? new UndrainDialog(c, onDone) : new DrainDialog(fleet, c, onDone);
  dialog.open();
}

function openTokenDialog(problem) {
  askForToken({
    problem,
    onToken: () => watch.start(),
    onForget: () => {
      watch.stop();
      openController("");
      fleet.clear();
    },
  });
}

// handleKey handles a key, and reports whether the page uses it.
function handleKey(event) {
  const input = event.target.closest("input, select, textarea");
  if (event.key === "Escape" && (detail.id || input)) {
    if (input?.id === "filter-text" && !detail.id) tiles.focus();
    else openController("");
    return true;
  }
  if (input) return false;

  switch (event.key) {
    case "/":
      byID("filter-text").focus();
      return true;
    case "?":
      openKeysDialog();
      return true;
    case "d":
      if (!hasToken()) return false;
      openDrainDialog(detail.id || tiles.currentID);
      return true;
    default:
      return false;
  }
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || isDialogOpen()) return;
  if (handleKey(event)) event.preventDefault();
});
addEventListener("hashchange", () => {
  filters.read(location.hash);
  const { open } = filters;
  applyFilters();
  if (hasToken()) openController(open);
});
addEventListener("online", () => watch.retryNow());
document.querySelector(".skip").addEventListener("click", (event) => {
  // The link must not change the address, which holds the filters.
  event.preventDefault();
  tiles.focus();
});
byID("theme").addEventListener("change", (event) => {
  if (event.target.value) document.documentElement.dataset.theme = event.target.value;
  else delete document.documentElement.dataset.theme;
});
byID("keys-button").addEventListener("click", openKeysDialog);
byID("token-button").addEventListener("click", () => openTokenDialog(""));
openTokenDialog("");
