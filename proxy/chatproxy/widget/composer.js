/** Where the visitor writes: grows with the text, counts it, sends it or stops the answer. */
import { h, icon, length } from "./dom.js";

export class Composer {
  #busy = false;
  #editing = null;
  #most = null;

  /** `acts`: send(text), edit(message, text), stop(). */
  constructor(t, placeholder, acts) {
    Object.assign(this, { t, acts });
    const name = placeholder ?? t("placeholder");
    this.field = h("textarea", {
      rows: 1,
      placeholder: name,
      "aria-label": name,
      "aria-describedby": "count",
      dir: "auto",
    });
    this.count = h("span.count", { id: "count" });
    this.cancel = h(
      "button",
      { type: "button", "data-action": "cancel-edit", hidden: true, onclick: () => this.leaveEdit() },
      t("cancel"),
    );
    this.button = h("button.icon.send", { type: "submit" });
    this.element = h("form.composer", {}, this.field, this.button, h("div.below", {}, this.count, this.cancel));
    this.field.addEventListener("input", () => this.#changed());
    this.field.addEventListener("keydown", (event) => {
      // Enter also ends the choice of a character in an input method.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#busy) this.acts.stop();
      else this.#send();
    });
    this.#changed();
    this.#label();
  }

  /** The longest message in characters, or null. */
  set most(most) {
    this.#most = most;
    this.#changed();
  }

  set busy(busy) {
    if (busy === this.#busy) return;
    this.#busy = busy;
    this.#label();
  }

  /** Let the visitor change a question that has been asked. */
  edit(message) {
    this.#editing = message;
    this.field.value = message.text;
    this.cancel.hidden = false;
    this.#changed();
    this.#label();
    this.field.focus();
  }

  /** Put a text into the field, unless the visitor has written there. */
  offer(text) {
    if (this.field.value) return;
    this.field.value = text;
    this.#changed();
  }

  /** Returns whether there was an edit to leave. */
  leaveEdit() {
    if (!this.#editing) return false;
    this.#clear();
    this.field.focus();
    return true;
  }

  #send() {
    const text = this.field.value;
    if (this.#busy || !text.trim() || this.#over > 0) return;
    const editing = this.#editing;
    this.#clear();
    if (editing) this.acts.edit(editing, text);
    else this.acts.send(text);
  }

  #clear() {
    this.#editing = null;
    this.cancel.hidden = true;
    this.field.value = "";
    this.#changed();
    this.#label();
  }

  get #over() {
    return this.#most ? length(this.field.value) - this.#most : 0;
  }

  #changed() {
    const { field, count, t } = this;
    field.style.height = "auto";
    if (field.scrollHeight) field.style.height = `${field.scrollHeight + 2}px`;
    const over = this.#over;
    field.setAttribute("aria-invalid", String(over > 0));
    if (!this.#most) count.textContent = "";
    else if (over > 0) count.textContent = t("too_long", { n: over });
    else count.textContent = t("count", { n: this.#most + over, max: this.#most });
  }

  #label() {
    const action = this.#busy ? "stop" : "send";
    const name = this.t(!this.#busy && this.#editing ? "edit_send" : action);
    this.button.dataset.action = action;
    this.button.setAttribute("aria-label", name);
    this.button.title = name;
    this.button.replaceChildren(icon(action));
  }
}
