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
  const { options, sheet, config, t } = ready;
  const host = document.createElement("chat-widget");
  const shadow = host.attachShadow({ mode: "open" });
  shadow.adoptedStyleSheets = [sheet];
  const launcher = h(
    "button.launcher",
    { type: "button", "aria-expanded": "false", "aria-haspopup": "dialog" },
    icon("chat"),
  );
  const root = h("div.root", { lang: t.language, dir: document.dir || t.direction }, launcher);
  wear(root, options, config?.bot.theme);
  shadow.append(root);
  document.body.append(host);

  let panel = null;
  let made = null; // a promise of the panel
  let begun = null; // a promise of what was said before
  const isOpen = () => panel !== null && !panel.element.hidden;
  const label = () => {
    launcher.setAttribute("aria-label", t(isOpen() ? "close" : "open"));
    launcher.setAttribute("aria-expanded", String(isOpen()));
    launcher.replaceChildren(icon(isOpen() ? "close" : "chat"));
  };
  const make = async () => {
    const { Panel } = await import("./panel.js");
    if (ready.refused?.lost) {
      // It may only have been the network at that moment.
      ready.config = await ready.api.describe(options.bot).catch(() => null);
    }
    panel = new Panel({ ...ready, events, onclose: () => close() });
    panel.element.hidden = true;
    panel.element.addEventListener("keydown", trap);
    root.prepend(panel.element);
    begun = panel.begin();
  };
  const trap = (event) => {
    if (event.key !== "Tab" || !PHONE.matches) return;
    const all = [...panel.element.querySelectorAll("button, a[href], input, select, textarea, summary, [tabindex]")];
    const reachable = all.filter((element) => !element.disabled && element.checkVisibility());
    const [first, last] = event.shiftKey ? [reachable.at(-1), reachable[0]] : [reachable[0], reachable.at(-1)];
    if (shadow.activeElement === last) {
      event.preventDefault();
      first.focus();
    }
  };
  const full = () => panel?.element.setAttribute("aria-modal", String(PHONE.matches));
  PHONE.addEventListener("change", full);

  const open = async ({ focus = true } = {}) => {
    made ??= make();
    try {
      await made;
    } catch (error) {
      made = null; // the next click tries again
      throw error;
    }
    if (isOpen()) return;
    panel.element.hidden = false;
    full();
    label();
    if (focus) panel.focus();
    events.dispatchEvent(new CustomEvent("open"));
  };
  const close = () => {
    if (!isOpen()) return;
    const within = shadow.activeElement !== null;
    panel.element.hidden = true;
    label();
    if (within) launcher.focus();
    events.dispatchEvent(new CustomEvent("close"));
  };
  const toggle = () => (isOpen() ? close() : open());
  const ask = async (text) => {
    await open();
    await begun;
    return panel.ask(String(text));
  };
  launcher.addEventListener("click", toggle);
  label();
  // So that it is there at once when it is wanted.
  (window.requestIdleCallback ?? setTimeout)(() => import("./panel.js").catch(() => {}));
  if (options.open) open({ focus: false });
  events.dispatchEvent(new CustomEvent("ready"));
  return { open, close, toggle, ask };
}
