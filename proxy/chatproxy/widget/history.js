/** The list of a visitor's conversations. */
import { h } from "./dom.js";

/** `go(id, bot)` opens one; `current` is the id of the one that is open. */
export function conversationList(t, conversations, current, go) {
  if (!conversations.length) return h("p", {}, t("history_empty"));
  const when = new Intl.DateTimeFormat(t.language, { dateStyle: "medium", timeStyle: "short" });
  const items = conversations.map(({ id, title, bot, updated_at: at }) => {
    const attributes = { type: "button", "data-id": id, "aria-current": id === current && "true" };
    const name = h("span", { dir: "auto" }, title);
    const time = h("time", { datetime: at }, when.format(new Date(at)));
    return h("li", {}, h("button", { ...attributes, onclick: () => go(id, bot) }, name, time));
  });
  return h("ul", {}, ...items);
}
