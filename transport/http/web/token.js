// The token: asked for once, kept in memory only.

import { forgetToken, hasToken, setToken } from "./api.js";
import { openDialog } from "./dialog.js";
import { el } from "./dom.js";

let asking = null;

// askToken opens the dialog, with what is the matter when something is. onToken is called when there is a token,
// onForget when there is none any more.
export function askToken({ problem = "", onToken, onForget }) {
  asking?.close();
  const input = el("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", autocapitalize: "off", required: true, autofocus: true, "aria-describedby": "token-help" });
  const wrong = el("p", { class: "problem", role: "alert", hidden: problem === "" }, problem);
  const forget = el("button", { type: "button", hidden: !hasToken(), click: () => {
    forgetToken();
    onForget();
    dialog.close();
  } }, "Forget the token");
  const dialog = openDialog({
    title: "Token",
    name: "token",
    body: [
      wrong,
      el("label", { for: "token" }, "Bearer token"),
      input,
      el("div", { id: "token-help", class: "help" },
        el("p", {}, "Reading needs the scope ", el("code", {}, "gc:read"), ", draining needs ", el("code", {}, "gc:admin"), ". The token stays in the memory of this page until it is closed, loaded anew or told to forget."),
        el("p", {}, "With the development stack: ", el("code", {}, "gcctl token --client dev-admin"))),
    ],
    actions: [forget, el("button", { type: "button", click: () => dialog.close() }, "Cancel"), el("button", { type: "submit", class: "primary" }, "Connect")],
    onSubmit: () => {
      // People paste the whole header, or a line's end with it.
      const text = input.value.trim().replace(/^(authorization:\s*)?bearer\s+/i, "");
      input.value = "";
      // Anything else cannot stand in a header.
      if (!/^[\x21-\x7e]+$/.test(text)) {
        wrong.textContent = "This is no token: it holds spaces or other characters that no token has.";
        wrong.hidden = false;
        input.focus();
        return;
      }
      setToken(text);
      dialog.close();
      onToken();
    },
    onClose: () => { if (asking === dialog) asking = null; },
  });
  asking = dialog;
}
