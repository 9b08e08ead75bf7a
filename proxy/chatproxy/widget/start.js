/** The widget on somebody's homepage: the launcher in the corner, and the panel once it is wanted. */
import { Api } from "./api.js";
import { h, icon } from "./dom.js";
import { choose, load } from "./i18n.js";
import { readOptions, wear } from "./options.js";
import { openStore } from "./store.js";

const PHONE = matchMedia("(max-width: 480px), (max-height: 480px)");

/** A style sheet made by script: a page's Content-Security-Policy for styles does not concern it. */
export async function styles(base) {
  const sheet = new CSSStyleSheet();
  const response = await fetch(`${base}/style.css`, { credentials: "omit" });
  await sheet.replace(await response.text());
  return sheet;
}

/** What the launcher needs to look right and the panel to begin: {api, config, refused, options, sheet, store, t}. */
export async function prepare(dataset, { origin, base }) {
  const options = readOptions(dataset);
  const store = openStore(`chat-widget:${options.siteKey}`, options.history);
  const api = new Api(origin, options.siteKey, store);
  let refused = null;
  const [sheet, config] = await Promise.all([
    styles(base),
    api.describe(options.bot).catch((error) => {
      refused = error;
      console.error(`[chat widget] ${error.code}: ${error.message}`);
      return null;
    }),
  ]);
  const wished = [options.language, document.documentElement.lang, ...navigator.languages];
  const t = await load(base, choose(wished, config?.bot.languages));
  return { api, config, refused, options, sheet, store, t };
}

/** Put the widget into the page. Returns its commands: open, close, toggle, ask. */
export async function start(dataset, { origin, base, events }) {
  const ready = await prepare(dataset, { origin, base });
  const widget = new Widget(ready, events);
  // So that the panel is there at once when it is wanted.
  (window.requestIdleCallback ?? setTimeout)(() => import("./panel.js").catch(() => {}));
  if (ready.options.open) widget.open({ focus: false });
  events.dispatchEvent(new CustomEvent("ready"));
  return widget;
}

class Widget {
  #ready;
  #events;
  #panel = null;
  #made = null; // a promise of the panel
  #begun = null; // a promise of what was said before

  constructor(ready, events) {
    this.#ready = ready;
    this.#events = events;
    const { options, sheet, config, t } = ready;
    const host = document.createElement("chat-widget");
    this.shadow = host.attachShadow({ mode: "open" });
    this.shadow.adoptedStyleSheets = [sheet];
    this.launcher = h("button.launcher", { type: "button", "aria-haspopup": "dialog", onclick: () => this.toggle() });
    this.root = h("div.root", { lang: t.language, dir: document.dir === "rtl" ? "rtl" : t.direction }, this.launcher);
    wear(this.root, options, config?.bot.theme);
    this.shadow.append(this.root);
    this.#label();
    PHONE.addEventListener("change", () => this.#fill());
    document.body.append(host);
  }

  get isOpen() {
    return this.#panel !== null && !this.#panel.element.hidden;
  }

  async open({ focus = true } = {}) {
    this.#made ??= this.#make();
    try {
      await this.#made;
    } catch (error) {
      this.#made = null; // the next click tries again
      throw error;
    }
    if (this.isOpen) return;
    this.#panel.element.hidden = false;
    this.#fill();
    this.#label();
    if (focus) this.#panel.focus();
    this.#events.dispatchEvent(new CustomEvent("open"));
  }

  close() {
    if (!this.isOpen) return;
    const within = this.shadow.activeElement !== null;
    this.#panel.element.hidden = true;
    this.#label();
    if (within) this.launcher.focus();
    this.#events.dispatchEvent(new CustomEvent("close"));
  }

  toggle() {
    return this.isOpen ? this.close() : this.open();
  }

  async ask(text) {
    await this.open();
    await this.#begun;
    return this.#panel.ask(String(text));
  }

  async #make() {
    const { Panel } = await import("./panel.js");
    const ready = this.#ready;
    if (ready.refused?.lost) {
      // It may only have been the network at that moment.
      ready.config = await ready.api.describe(ready.options.bot).catch(() => null);
    }
    this.#panel = new Panel({ ...ready, events: this.#events, onclose: () => this.close() });
    this.#panel.element.hidden = true;
    this.#panel.element.addEventListener("keydown", (event) => this.#trap(event));
    this.root.prepend(this.#panel.element);
    this.#begun = this.#panel.begin();
  }

  #label() {
    const { launcher, isOpen } = this;
    launcher.setAttribute("aria-label", this.#ready.t(isOpen ? "close" : "open"));
    launcher.setAttribute("aria-expanded", String(isOpen));
    launcher.replaceChildren(icon(isOpen ? "close" : "chat"));
  }

  /** On a phone the panel covers the page, and is the only thing there. */
  #fill() {
    this.#panel?.element.setAttribute("aria-modal", String(PHONE.matches));
  }

  /** Keep the focus within a panel that covers the page. */
  #trap(event) {
    if (event.key !== "Tab" || !PHONE.matches) return;
    const all = this.#panel.element.querySelectorAll("button, a[href], input, select, textarea, summary, [tabindex]");
    const reachable = [...all].filter((element) => !element.disabled && element.checkVisibility());
    const [edge, other] = event.shiftKey ? [reachable[0], reachable.at(-1)] : [reachable.at(-1), reachable[0]];
    if (this.shadow.activeElement !== edge) return;
    event.preventDefault();
    other.focus();
  }
}
