// Dialogs with a form. They are the browser's own, so that the focus stays inside and Escape closes them.

import { el } from "./dom.js";

let dialogCount = 0;

// openDialog shows a form with the buttons of actions at its end. onClose is called when the dialog has closed for any reason. The
// focus then returns to the element that had it.
export function openDialog({ title, body, actions = [], onSubmit, onClose, name }) {
  const id = `dialog-title-${++dialogCount}`;
  const previousFocus = document.activeElement;
  const form = el("form", { method: "dialog", autocomplete: "off" },
    el("h2", { id }, title), ...body, el("div", { class: "actions" }, ...actions));
  const dialog = el("dialog", { "aria-labelledby": id, class: name }, form);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onSubmit?.();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (previousFocus?.isConnected) previousFocus.focus();
    onClose?.();
  });

  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export const isDialogOpen = () => document.querySelector("dialog[open]") !== null;

const keys = [
  ["/", "filter by id"],
  ["← → ↑ ↓", "move between tiles"],
  ["Home End", "move to the first or last tile"],
  ["Enter", "open the controller"],
  ["d", "drain the controller, or end its drain"],
  ["Esc", "close the controller or the dialog"],
  ["?", "show this list"],
];

export function openKeysDialog() {
  const rows = keys.flatMap(([names, action]) => [
    el("dt", {}, ...names.split(" ").map((name) => el("kbd", {}, name))),
    el("dd", {}, action),
  ]);
  const dialog = openDialog({
    title: "Keys",
    name: "keys",
    body: [el("dl", { class: "keys" }, ...rows)],
    actions: [el("button", { type: "submit", class: "primary" }, "Close")],
    onSubmit: () => dialog.close(),
  });
}
