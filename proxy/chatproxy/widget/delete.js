/** Deleting all that a visitor has said, after asking once more. */
import { h } from "./dom.js";
import { errorText } from "./message.js";

/** `done(text)` closes the dialog where it is still open, `keep` at once. */
export function dialog({ chat, t }, keep, done) {
  const failed = h("p.failed", { role: "alert" });
  const gone = () => chat.deleteAll().then(
    () => done(t("deleted")),
    (error) => (failed.textContent = errorText(t, error)),
  );
  const yes = h("button.danger", { type: "button", "data-action": "delete-all", onclick: gone }, t("delete"));
  const no = h("button", { type: "button", "data-action": "keep", onclick: keep }, t("keep"));
  return h("div", {}, h("p", {}, t("delete_sure")), failed, h("div.buttons", {}, yes, no));
}
