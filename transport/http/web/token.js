// The dialog for the token, which the page keeps in memory only.

import { forgetToken, hasToken, setToken } from "./api.js";
import { openDialog } from "./dialog.js";
import { el, setText } from "./dom.js";

let openTokenDialog = null;

// askForToken opens the dialog. problem is the text of the error that made it necessary. onToken is called when a token was entered,
// onForget when it was forgotten.
export function askForToken({ problem = "", onToken, onForget }) {
  openTokenDialog?.close();

  const input = el("input", {
    type: "password", id: "token", autocomplete: "off", spellcheck: "false", autocapitalize: "off", required: true, autofocus: true,
    "aria-describedby": "token-help",
  });
  const problemText = el("p", { class: "problem", role: "alert", hidden: problem === "" }, problem);
  const forget = () => {
    forgetToken();
    onForget();
    dialog.close();
  };
  const submit = () => {
    const token = parseToken(input.value);
    input.value = "";
    if (token === "") {
      setText(problemText, "This is not a valid token: it contains spaces or other characters that a token cannot have.");
      problemText.hidden = false;
      input.focus();
      return;
    }
    setToken(token);
    dialog.close();
    onToken();
  };

  const dialog = openDialog({
    title: "Token",
    name: "token",
    body: [problemText, el("label", { for: "token" }, "Bearer token"), input, renderHelp()],
    actions: [
      el("button", { type: "button", hidden: !hasToken(), click: forget }, "Forget the token"),
      el("button", { type: "button", click: () => dialog.close() }, "Cancel"),
      el("button", { type: "submit", class: "primary" }, "Connect"),
    ],
    onSubmit: submit,
    onClose: () => { if (openTokenDialog === dialog) openTokenDialog = null; },
  });
  openTokenDialog = dialog;
}

// parseToken returns the token in a text, which may be a whole header with a line end; "" if it is invalid.
function parseToken(text) {
  const token = text.trim().replace(/^(authorization:\s*)?bearer\s+/i, "");
  return /^[\x21-\x7e]+$/.test(token) ? token : "";
}

function renderHelp() {
  const code = (text) => el("code", {}, text);
  return el("div", { id: "token-help", class: "help" },
    el("p", {}, "Reading needs the scope ", code("gc:read"), ", draining needs ", code("gc:admin"), ". ",
      "The page keeps the token in memory only, until you close or reload the page or forget the token."),
    el("p", {}, "With the development stack: ", code("gcctl token --client dev-admin")));
}
