/** The widget's words: one file for each language in lang/. */

// Written from right to left.
const RIGHT_TO_LEFT = new Set(["ar", "fa", "he", "ur"]);
export const LANGUAGES = ["en", "ar", "de", "es", "fr", "lv"];

/** The first of `wished` (as "de-AT") that there is, of those that the bot offers if it says so; else its own first. */
export function choose(wished, offered = []) {
  const there = offered.filter((language) => LANGUAGES.includes(language));
  const candidates = there.length ? there : LANGUAGES;
  for (const wish of wished) {
    const language = wish?.toLowerCase().split(/[-_]/)[0];
    if (candidates.includes(language)) return language;
  }
  return candidates[0];
}

/** Fetch a language. Returns t(key, values): the text with its {placeholders} filled in; t.language, t.direction. */
export async function load(base, language) {
  const response = await fetch(`${base}/lang/${language}.json`, { credentials: "omit" });
  const texts = await response.json();
  const t = (key, values = {}) => (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  t.has = (key) => key in texts;
  t.language = language;
  t.direction = RIGHT_TO_LEFT.has(language) ? "rtl" : "ltr";
  /** A length of time for people. */
  t.time = (seconds) =>
    seconds < 90
      ? t("seconds", { n: Math.max(1, Math.round(seconds)) })
      : t("minutes", { n: Math.round(seconds / 60) });
  return t;
}
