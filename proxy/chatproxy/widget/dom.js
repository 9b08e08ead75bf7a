/** Building elements without a framework, and the one place where HTML becomes part of a page. */

/**
 * h("button.send.primary", { type: "button", onclick }, "Send"): an element with classes, attributes and children.
 * Attributes that are null, undefined or false are left out, those that are true stand without a value.
 */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// 24 x 24, drawn with a line of 2.
const ICONS = {
  chat: "M21 12a8 8 0 0 1-8 8H4l2-3.5A8 8 0 1 1 21 12Z",
  close: "M6 6l12 12M18 6L6 18",
  menu: "M4 11h2v2H4ZM11 11h2v2h-2ZM18 11h2v2h-2Z",
  send: "M4 12l16-8-6 16-3-7-7-1Z",
  stop: "M7 7h10v10H7Z",
  copy: "M9 9h11v11H9ZM5 15H4V4h11v1",
  retry: "M20 11a8 8 0 1 0-2 6M20 5v6h-6",
  edit: "M4 20l1-5L16 4l4 4L9 19Z",
  up: "M7 11v9H4v-9ZM7 11l4-8c3 0 3 2 2 6h6l-2 11H7",
  down: "M7 13V4H4v9ZM7 13l4 8c3 0 3-2 2-6h6L17 4H7",
};
const SVG = "http://www.w3.org/2000/svg";

/** An icon, hidden from screen readers: what it stands for is said by the button's name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon and is called `label`. */
export function iconButton(action, label, onclick, name = action) {
  return h(
    "button.icon",
    { type: "button", "data-action": action, "aria-label": label, title: label, onclick },
    icon(name),
  );
}

let policy = null;

/** Show HTML that the server has sanitised. Returns false where the page's Trusted Types forbid it. */
export function setHtml(element, html) {
  try {
    policy ??= window.trustedTypes?.createPolicy("chat-widget", { createHTML: (text) => text }) ?? {
      createHTML: (text) => text,
    };
    element.innerHTML = policy.createHTML(html);
    return true;
  } catch (error) {
    console.warn(
      `[chat widget] answers are shown without formatting (${error.message}). The page's ` +
        "Content-Security-Policy needs: trusted-types chat-widget",
    );
    return false;
  }
}

/** The characters of a text as the server counts them: code points. */
export const length = (text) => [...text].length;
