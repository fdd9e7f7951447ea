// The dialogs that drain a controller and end its drain. An order has the generation that the operator has seen, so it
// fails after a change by another operator.

import { describeError, drainController, getController, listTransitions, undrainController } from "./api.js";
import { openDialog } from "./dialog.js";
import { el, setText } from "./dom.js";
import { renderPlan } from "./plan.js";

const deadlines = [
  ["", "No deadline"],
  ["15", "15 minutes"],
  ["60", "1 hour"],
  ["240", "4 hours"],
  ["1440", "1 day"],
  ["custom", "Other…"],
];
const maxMinutes = 60 * 24 * 365;
const conflictStatus = 409;

// OrderDialog is the part that the two dialogs share. onDone is called with a text after the order.
class OrderDialog {
  constructor(controller, onDone) {
    this.id = controller.controller_id;
    this.generation = controller.generation;
    this.onDone = onDone;
    this.reason = el("input", { type: "text", id: "reason", maxlength: "250", autocomplete: "off" });
    this.reasonField = el("p", { class: "field" }, el("label", { for: "reason" }, "Reason, for the history"), this.reason);
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.cancelButton = el("button", { type: "button", click: () => this.dialog.close() }, "Cancel");
  }

  get reasonText() { return this.reason.value.trim(); }

  showProblem(text) {
    setText(this.problem, text);
    this.problem.hidden = text === "";
  }

  // readConflict describes the change of another operator since the generation was read, "" if there is none.
  async readConflict() {
    const controller = await getController(this.id);
    if (controller.generation === this.generation) return "";

    const { transitions } = await listTransitions(this.id, 0, 20);
    const operator = controller.drain?.by ?? transitions.find((t) => t.cause === "operator")?.actor ?? "another operator";
    this.generation = controller.generation;
    return `In the meantime ${operator} changed this controller; it is ${controller.health} now.`;
  }

  finish(text) {
    this.dialog.close();
    this.onDone(text);
  }
}

export class DrainDialog extends OrderDialog {
  #planNumber = 0; // of the latest request
  #isSafe = false;

  constructor(fleet, controller, onDone) {
    super(controller, onDone);
    this.fleet = fleet;

    const options = deadlines.map(([value, label]) => el("option", { value }, label));
    this.deadline = el("select", { id: "deadline", change: () => this.#showMinutes() }, ...options);
    this.minutes = el("input", { type: "number", id: "minutes", min: "1", max: String(maxMinutes), step: "1", value: "30" });
    this.minutesField = el("p", { class: "field", hidden: true }, el("label", { for: "minutes" }, "Minutes"), this.minutes);
    this.plan = el("div", { class: "plan", "aria-live": "polite" }, "Calculating the plan…");
    this.forceBox = el("input", { type: "checkbox", id: "force", change: () => this.#setReady(true) });
    this.forceField = el("p", { class: "force", hidden: true }, this.forceBox, el("label", { for: "force" }, "Drain anyway"));
    this.drainButton = el("button", { type: "submit", class: "danger", disabled: true }, "Drain");
  }

  open() {
    this.dialog = openDialog({
      title: `Drain ${this.id}`,
      name: "drain",
      body: [
        el("p", {}, "The controller accepts no new meetings. Its running meetings continue until they end."),
        this.problem,
        this.reasonField,
        el("p", { class: "field" }, el("label", { for: "deadline" }, "Deadline"), this.deadline),
        this.minutesField,
        this.plan,
        this.forceField,
      ],
      actions: [this.cancelButton, this.drainButton],
      onSubmit: () => this.#submit(),
    });

    this.#refreshPlan();
  }

  #showMinutes() {
    this.minutesField.hidden = this.deadline.value !== "custom";
  }

  // setReady enables the drain button, unless the drain is not safe and not forced.
  #setReady(isReady) {
    this.drainButton.disabled = !isReady || !(this.#isSafe || this.forceBox.checked);
  }

  // calculateDeadline returns the deadline by the store's clock, null if there is none.
  #calculateDeadline() {
    if (this.deadline.value === "") return null;
    const minutes = Number(this.deadline.value === "custom" ? this.minutes.value : this.deadline.value);
    return new Date(this.fleet.asOf + minutes * 60000).toISOString();
  }

  // refreshPlan requests the plan and shows it, unless a later request has begun.
  async #refreshPlan() {
    const number = ++this.#planNumber;
    this.#setReady(false);
    try {
      const response = await this.#requestPlan();
      if (number !== this.#planNumber) return;
      this.#isSafe = response.plan.safe;
      this.plan.replaceChildren(...renderPlan(response));
      this.forceField.hidden = this.#isSafe;
      this.forceBox.checked = false;
      this.#setReady(true);
    } catch (err) {
      this.plan.replaceChildren();
      this.showProblem(describeError(err));
    }
  }

  // requestPlan sends a dry run. After a conflict it sends another one with the new generation.
  async #requestPlan() {
    try {
      return await this.#requestDryRun();
    } catch (err) {
      if (err.status !== conflictStatus || !(await this.#showConflict())) throw err;
      return this.#requestDryRun();
    }
  }

  #requestDryRun() {
    return drainController(this.id, { dry_run: true, expected_generation: this.generation });
  }

  // showConflict shows the change of another operator, and reports whether there is one.
  async #showConflict() {
    const conflict = await this.readConflict();
    if (conflict !== "") this.showProblem(`${conflict} The plan has been updated.`);
    return conflict !== "";
  }

  async #submit() {
    if (!this.minutesField.hidden && !this.minutes.reportValidity()) return;
    this.showProblem("");
    this.#setReady(false);
    try {
      await drainController(this.id, {
        reason: this.reasonText,
        deadline: this.#calculateDeadline(),
        expected_generation: this.generation,
        force: !this.#isSafe && this.forceBox.checked,
      });
      this.finish(`${this.id} is draining.`);
    } catch (err) {
      await this.#handleError(err);
    }
  }

  async #handleError(err) {
    if (err.status !== conflictStatus) {
      this.showProblem(describeError(err));
      this.#setReady(true);
      return;
    }
    const hasConflict = await this.#showConflict().catch(() => false);
    if (!hasConflict) this.showProblem(describeError(err));
    await this.#refreshPlan();
  }
}

export class UndrainDialog extends OrderDialog {
  constructor(controller, onDone) {
    super(controller, onDone);
    this.drain = controller.drain;
    this.undrainButton = el("button", { type: "submit", class: "primary" }, "End the drain");
  }

  open() {
    this.dialog = openDialog({
      title: `End the drain of ${this.id}`,
      name: "undrain",
      body: [
        el("p", {}, "The controller's last reported state applies again at once."),
        this.drain ? el("p", {}, `Drain started by ${this.drain.by}`, this.drain.reason ? `: “${this.drain.reason}”` : ".") : null,
        this.problem,
        this.reasonField,
      ],
      actions: [this.cancelButton, this.undrainButton],
      onSubmit: () => this.#submit(),
    });
  }

  async #submit() {
    this.undrainButton.disabled = true;
    try {
      await undrainController(this.id, this.reasonText, this.generation);
      this.finish(`The drain of ${this.id} has ended.`);
    } catch (err) {
      const conflict = err.status === conflictStatus ? await this.readConflict().catch(() => "") : "";
      this.showProblem(conflict ? `${conflict} Check its state before you try again.` : describeError(err));
      this.undrainButton.disabled = false;
    }
  }
}
