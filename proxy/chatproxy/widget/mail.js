/** Handing a conversation over to people, by e-mail. */
import { h } from "./dom.js";
import { errorText } from "./message.js";

// What browsers and mail programs take of an address line, in characters as they are encoded.
const LONGEST_BODY = 1800;

/** `done(text)` closes the dialog where it is still open, `cancel` at once. */
export function dialog({ api, bot, chat, t, title }, cancel, done) {
  if (!bot.handoff.smtp)
    return mailLink(t, bot.handoff.email, t("mail_subject", { name: title.textContent }), chat.messages, cancel);
  const path = `/api/v1/conversations/${chat.conversation}/handoff`;
  return mailForm(t, (body) => api.json("POST", path, body), done, cancel);
}

/** The server sends the conversation; `send({email, note})` asks it to. */
function mailForm(t, send, sent, cancel) {
  const email = h("input", { type: "email", required: true, autocomplete: "email" });
  const note = h("textarea", { rows: 3, maxlength: 2000 });
  const failed = h("p.failed", { role: "alert" });
  const button = h("button", { type: "submit", "data-action": "mail-send" }, t("mail_send"));
  let sending = false;
  // A button that is disabled has no focus, and takes no Escape.
  const under = (way) => button.setAttribute("aria-disabled", (sending = way));
  const onsubmit = async (event) => {
    event.preventDefault();
    if (sending) return;
    under(true);
    try {
      await send({ email: email.value, note: note.value.trim() || undefined });
      sent(t("mail_sent"));
    } catch (error) {
      failed.textContent = errorText(t, error);
    } finally {
      under(false);
    }
  };
  return h(
    "form.mail",
    { onsubmit },
    h("p", {}, t("mail_intro")),
    h("label", {}, t("mail_address"), email),
    h("label", {}, t("mail_note"), note),
    failed,
    h("div.buttons", {}, button, h("button", { type: "button", "data-action": "back", onclick: cancel }, t("cancel"))),
  );
}

/** The visitor's own mail program sends it. */
function mailLink(t, address, subject, messages, cancel) {
  const lines = messages
    .filter(({ text }) => text)
    .map(({ role, text }) => `${role === "user" ? t("you") : ">"}: ${text}`);
  const kept = [];
  let room = LONGEST_BODY;
  for (const line of lines.reverse()) {
    room -= encodeURIComponent(`\n\n${line}`).length;
    if (room < 0 && kept.length) break;
    // At least the end of the newest message; a character takes twelve places at most.
    kept.unshift(room < 0 ? `… ${[...line].slice(-LONGEST_BODY / 12).join("")}` : line);
  }
  if (kept.length < lines.length || room < 0) kept.unshift(t("mail_cut"));
  const body = kept.join("\n\n");
  const href = `mailto:${address}?subject=${encodeURIComponent(subject)}&body=${encodeURIComponent(body)}`;
  const open = h("a.button", { href, "data-action": "mail-open" }, t("mail_open"));
  const back = h("button", { type: "button", "data-action": "back", onclick: cancel }, t("cancel"));
  return h("div.mail", {}, h("p", {}, t("mail_intro_own")), h("div.buttons", {}, open, back));
}
