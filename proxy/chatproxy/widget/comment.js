/** What a visitor may add to a thumb. */
import { h } from "./dom.js";

/** Below a message that has a rating: the form; one that is there stays, and goes with the rating. */
export function offer({ message, more, t, acts }) {
  const there = more.querySelector("form");
  if (!message.rating) leave(there);
  if (!message.rating || there) return;
  const field = h("textarea", { rows: 2, maxlength: 2000, "aria-label": t("comment"), placeholder: t("comment") });
  const onsubmit = async (event) => {
    event.preventDefault();
    const comment = field.value.trim();
    if (comment && !(await acts.rate(message, message.rating, comment))) return;
    leave(form);
    acts.announce(t("thanks"));
  };
  const form = h("form.comment", { onsubmit }, field, h("button", { type: "submit" }, t("comment_send")));
  more.append(form);
  form.scrollIntoView({ block: "nearest" });

  /** Who is in it goes on at the thumb. */
  function leave(which) {
    if (which?.querySelector(":focus")) more.querySelector("[aria-pressed=true], [data-action=up]").focus();
    which?.remove();
  }
}
