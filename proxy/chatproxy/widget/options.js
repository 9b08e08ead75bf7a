/** What a page asks of the chat, by the attributes of its <script> line (or of the chat page's <main>). */

/** The options that `dataset` gives; undefined where it says nothing and the bot's own description holds. */
export function readOptions(dataset) {
  const replies = dataset.quickReplies?.split("|").map((text) => text.trim());
  return {
    bot: dataset.bot || undefined,
    siteKey: dataset.siteKey || "",
    title: dataset.title,
    greeting: dataset.greeting,
    placeholder: dataset.placeholder,
    consent: dataset.consent,
    quickReplies: replies?.filter(Boolean),
    language: dataset.language,
    history: dataset.history !== "off",
    open: dataset.open === "true",
    accent: dataset.accent,
    accentText: dataset.accentText,
    colorScheme: dataset.colorScheme,
    position: dataset.position,
  };
}

/** Let `root` (an element of the widget) wear the page's colours, or else the bot's. */
export function wear(root, options, theme = {}) {
  const accent = options.accent ?? theme.accent;
  const text = options.accentText ?? (options.accent ? undefined : theme.accent_text) ?? readable(accent);
  if (accent) root.style.setProperty("--accent", accent);
  if (text) root.style.setProperty("--accent-text", text);
  root.dataset.scheme = options.colorScheme ?? theme.color_scheme ?? "auto";
  root.dataset.position = options.position ?? theme.position ?? "right";
}

/** Black or white, whichever is easier to read on #rrggbb (relative luminance of WCAG 2.2). */
function readable(colour) {
  const parts = /^#(..)(..)(..)$/.exec(colour ?? "");
  if (!parts) return undefined;
  const [r, g, b] = parts.slice(1).map((hex) => {
    const value = parseInt(hex, 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}
