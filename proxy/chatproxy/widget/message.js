/** One message as it is seen, and the buttons below it. */
import { h, icon, iconButton, setHtml } from "./dom.js";

const COPIED_FOR = 1500; // ms
const SAFE = /^(https?|mailto):/i;
const RATINGS = ["up", "down"];
const ENDED = new Set(["done", "cancelled", "interrupted", "error"]);

export class MessageView {
  #waiting = 0; // the animation frame that will show more text
  #shown = 0; // characters of the text that are shown

  /** `acts` are what the buttons do: retry(message), edit(message), rate(message, rating, comment). */
  constructor(message, t, name, acts) {
    Object.assign(this, { message, t, acts });
    this.text = h("div.text", { dir: "auto" });
    this.note = h("div.note", { hidden: true });
    this.more = h("div.more");
    this.element = h(
      `article.message.${message.role}`,
      { "aria-label": message.role === "user" ? t("you") : name },
      this.text,
      this.note,
      this.more,
    );
    this.changed();
  }

  /** The text has grown: show it with the next frame, once for all that has come until then. */
  grown() {
    this.#waiting ||= requestAnimationFrame(() => {
      this.#waiting = 0;
      const { text } = this.message;
      if (!this.streamed) {
        this.streamed = document.createTextNode("");
        this.text.replaceChildren(this.streamed);
        this.#shown = 0;
      }
      this.streamed.appendData(text.slice(this.#shown));
      this.#shown = text.length;
      this.onshown?.();
    });
  }

  changed() {
    const { message } = this;
    const state = message.state ?? "done";
    this.element.dataset.state = state;
    if (message.id) this.element.dataset.id = message.id;
    this.element.toggleAttribute("aria-busy", !ENDED.has(state));
    if (ENDED.has(state)) this.#ended();
    else if (message.text) ((this.streamed = null), this.grown());
    this.#tellNote(state);
  }

  #ended() {
    const { message } = this;
    cancelAnimationFrame(this.#waiting);
    this.#waiting = 0;
    this.streamed = null;
    if (message.role === "bot" && message.html && message.state !== "error" && setHtml(this.text, message.html)) {
      this.text.classList.add("rich");
      cite(this.text, message.sources ?? []);
      // What scrolls sideways must be reachable without a mouse.
      for (const wide of this.text.querySelectorAll("pre")) wide.tabIndex = 0;
    } else {
      this.text.classList.remove("rich");
      this.text.textContent = message.text;
    }
    this.more.replaceChildren(...this.#sources(), this.#actions());
    this.rated();
  }

  /** Which thumb is pressed; nothing else is drawn anew, as somebody may be at it. */
  rated() {
    for (const rating of RATINGS)
      this.more
        .querySelector(`[data-action=${rating}]`)
        ?.setAttribute("aria-pressed", String(this.message.rating === rating));
  }

  /** What is told about the message beside its text. */
  #tellNote(state) {
    const { message, t, note } = this;
    note.className = state === "queued" ? "note queue" : "note";
    let words = "";
    if (state === "queued") {
      const { position, eta_s: eta } = message.queue;
      words = t(eta == null ? "queue" : "queue_eta", { n: position, time: eta == null ? "" : t.time(eta) });
    } else if (state === "waiting") words = t("waiting");
    else if (state === "cancelled") words = t("cancelled");
    else if (message.error) words = errorText(t, message.error);
    else if (state === "interrupted") words = t("interrupted");
    else if (message.reason === "length") words = t("length");
    if (message.truncated) words = `${words} ${t("truncated")}`.trim();
    note.textContent = words;
    note.hidden = !words;
  }

  #sources() {
    const sources = (this.message.sources ?? []).filter((source) => source.title || source.url);
    if (!sources.length) return [];
    const items = sources.map((source) => {
      const name = source.title || source.url;
      const shown = SAFE.test(source.url ?? "") ? link(source.url, name) : name;
      return h("li", { value: source.n, title: source.snippet }, shown);
    });
    return [h("details.sources", { open: true }, h("summary", {}, this.t("sources")), h("ol", {}, ...items))];
  }

  #actions() {
    const { message, t, acts } = this;
    const bar = h("div.actions");
    if (message.text) bar.append(iconButton("copy", t("copy"), (event) => this.#copy(event.currentTarget)));
    if (message.role === "user") bar.append(iconButton("edit", t("edit"), () => acts.edit(message)));
    else bar.append(iconButton("retry", t(message.state === "done" ? "again" : "retry"), () => acts.retry(message)));
    if (message.role === "bot" && message.id && message.text) {
      for (const rating of RATINGS) bar.append(iconButton(rating, t(rating), () => this.#rate(rating)));
    }
    return bar;
  }

  async #copy(button) {
    const done = await copy(this.message.text, button);
    button.replaceChildren(done ? "✓" : "✗");
    this.acts.announce(this.t(done ? "copied" : "copy_failed"));
    setTimeout(() => button.replaceChildren(icon("copy")), COPIED_FOR);
  }

  async #rate(pressed) {
    const rating = this.message.rating === pressed ? null : pressed;
    if (!(await this.acts.rate(this.message, rating))) return;
    // Without it the rating stands all the same.
    import("./comment.js").then(({ offer }) => offer(this), () => {});
  }
}

/** An ApiError in the visitor's language. */
export function errorText(t, error) {
  const key = `error_${error.code}`;
  const seconds = error.retryAfter;
  if (seconds && t.has(`${key}_later`)) return t(`${key}_later`, { time: t.time(seconds) });
  return t.has(key) ? t(key) : error.message || t("error_internal_error");
}

function link(url, ...children) {
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

/** Make "[2]" in an answer's text a link to its second source. */
function cite(element, sources) {
  const urls = new Map(sources.filter(({ url }) => SAFE.test(url ?? "")).map(({ n, url }) => [String(n), url]));
  if (!urls.size) return;
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode())
    if (!walker.currentNode.parentElement.closest("a, code, pre")) texts.push(walker.currentNode);
  for (const text of texts) {
    const parts = text.data.split(/\[(\d{1,2})\]/);
    if (parts.length < 2) continue;
    text.replaceWith(
      ...parts.map((part, index) => {
        if (index % 2 === 0) return part;
        return urls.has(part) ? link(urls.get(part), `[${part}]`) : `[${part}]`;
      }),
    );
  }
}

/** Copy; where the clipboard's own way is closed (frames, plain http), the old one. */
async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = h("textarea.hidden", { "aria-hidden": "true" });
    field.value = text;
    near.after(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    near.focus();
    return done;
  }
}
