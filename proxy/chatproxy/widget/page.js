/** The chat as a page of its own (/chat), or in a frame of a page that forbids scripts (/embed). */
import { Panel } from "./panel.js";
import { wear } from "./options.js";
import { prepare } from "./start.js";

const place = document.querySelector("chat-widget");
const ready = await prepare(place.dataset, {
  origin: location.origin,
  base: new URL(".", import.meta.url).pathname.slice(0, -1),
});
const { sheet, t, options, config } = ready;
const panel = new Panel({ ...ready, events: new EventTarget() });
const root = document.createElement("div");
root.className = "root";
Object.assign(root, { lang: t.language, dir: t.direction });
document.documentElement.lang = t.language;
document.documentElement.dir = t.direction;
wear(root, options, config?.bot.theme);
root.append(panel.element);
const shadow = place.attachShadow({ mode: "open" });
shadow.adoptedStyleSheets = [sheet];
shadow.append(root);
document.title = panel.title.textContent || document.title;
await panel.begin();
