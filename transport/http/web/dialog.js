// Dialogs: the browser's own, so that the focus stays inside and Escape closes them.

import { el } from "./dom.js";

let titles = 0;

// openDialog shows a form in a dialog. actions come last; onSubmit is called when the form is sent; onClose when the dialog
// is gone for whatever reason. The focus goes back to where it was.
export function openDialog({ title, body, actions = [], onSubmit, onClose, name }) {
  const id = `dialog-title-${++titles}`;
  const before = document.activeElement;
  const form = el("form", { method: "dialog", autocomplete: "off" }, el("h2", { id }, title), ...body, el("div", { class: "actions" }, ...actions));
  const dialog = el("dialog", { "aria-labelledby": id, class: name }, form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onSubmit?.();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
    onClose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export const isDialogOpen = () => document.querySelector("dialog[open]") !== null;

const keys = [
  ["/", "filter by id"], ["← → ↑ ↓", "go from tile to tile"], ["Home End", "the first and the last tile"], ["Enter", "open the controller"],
  ["d", "drain the controller, or end its drain"], ["Esc", "close what is open"], ["?", "this list"],
];

export function openKeys() {
  const list = el("dl", { class: "keys" }, ...keys.flatMap(([key, what]) => [el("dt", {}, ...key.split(" ").map((one) => el("kbd", {}, one))), el("dd", {}, what)]));
  const dialog = openDialog({ title: "Keys", name: "keys", body: [list], actions: [el("button", { type: "submit", class: "primary" }, "Close")], onSubmit: () => dialog.close() });
}
