/*
 * The chat widget's loader: what a homepage's <script> line fetches. It offers window.ChatWidget at once (calls that
 * come before the rest has arrived wait for it) and fetches the rest as modules from the folder of this version.
 */
(() => {
  "use strict";
  // Not by name alone: an element of the page called "currentScript" or "ChatWidget" would be found instead.
  const current = document.currentScript;
  const script =
    current instanceof HTMLScriptElement ? current : document.querySelector('script[data-site-key][src*="/widget.js"]');
  if (!script || typeof window.ChatWidget?.open === "function") return;
  const { origin } = new URL(script.src);
  const base = `${origin}/widget/__VERSION__`;
  const events = new EventTarget();

  const loaded = new Promise((resolve) => {
    if (document.body) resolve();
    else document.addEventListener("DOMContentLoaded", resolve, { once: true });
  })
    .then(() => import(`${base}/start.js`))
    .then((module) => module.start({ ...script.dataset }, { origin, base, events }));
  loaded.then(
    () => document.dispatchEvent(new CustomEvent("chatwidget:ready")),
    (error) =>
      console.error(
        `[chat widget] ${error.message}\nThe widget's files could not be loaded from ${origin}. If this page has a ` +
          `Content-Security-Policy, it needs: script-src ${origin}; connect-src ${origin}`,
      ),
  );

  const later =
    (name) =>
    (...given) => {
      loaded.then((widget) => widget[name](...given)).catch(() => {}); // told above
    };
  window.ChatWidget = Object.freeze({
    open: later("open"),
    close: later("close"),
    toggle: later("toggle"),
    ask: later("ask"),
    /** Call `listener` at each event of that name; returns a function that ends this. */
    on(name, listener) {
      const hear = (event) => listener(event.detail);
      events.addEventListener(name, hear);
      return () => events.removeEventListener(name, hear);
    },
  });
})();
