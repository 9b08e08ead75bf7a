/**
 * A conversation as the visitor has it: questions, answers as they come, and what can be done with both.
 *
 * A message is {role, text, html, state, id, ...}. An answer's `state` is waiting | queued | streaming | done |
 * cancelled | interrupted | error. Views hear of changes through `listener(kind, message)`: "added", "changed" (with
 * what), "text" (more of it), "rated", "cleared" and "connection".
 */
import { ApiError } from "./api.js";
import { length } from "./dom.js";
import { readEvents } from "./sse.js";

const AFTER_A_DROP = [250, 500, 1000, 2000, 4000]; // ms; the last one again and again
const GIVE_UP_AFTER = 10 * 60_000; // ms without a connection

// crypto.randomUUID is there on https alone.
const randomKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    // Back on line is the moment to try.
    const early = () => (clearTimeout(timer), resolve());
    addEventListener("online", early, { once: true });
    signal.addEventListener("abort", early, { once: true });
  });

export class Chat {
  /** `remembered` is the store; `bot` an id. */
  constructor(api, remembered, bot, listener) {
    Object.assign(this, { api, remembered, bot, listener });
    this.messages = [];
    this.conversation = (remembered.get("conversations") ?? {})[bot] ?? null;
    this.running = null; // the answer that is being made
  }

  get busy() {
    return this.running !== null;
  }

  /** Show the conversation that was open last; an answer that was broken off goes on. */
  async restore() {
    if (!this.conversation) return;
    try {
      await this.load(this.conversation);
    } catch (error) {
      if (error.status !== 404) throw error;
      this.#remember(null);
    }
  }

  async load(id) {
    const messages = await this.#stored(id);
    this.clear();
    this.#remember(id);
    for (const message of messages) this.#add(message);
    const last = this.messages.at(-1);
    if (last?.role === "bot" && last.unfinished) await this.#follow(last, null);
  }

  /** Begin anew; what was said stays on the server. */
  clear() {
    this.stop();
    this.running = null;
    this.messages = [];
    this.#remember(null);
    this.listener("cleared");
  }

  async ask(text) {
    await this.#askInstead(null, text);
  }

  /** Put another text in a question's place; what came after it is gone. */
  async edit(question, text) {
    const place = this.messages.indexOf(question);
    const id = await this.#questionId(question, this.messages[place + 1]);
    this.#drop(place);
    await this.#askInstead(id, text);
  }

  /** Another answer to the same question; one that was broken off goes on where it stopped. */
  async retry(answer) {
    if (answer.id && answer.unfinished) return this.#follow(answer, null);
    const place = this.messages.indexOf(answer);
    const regenerates = answer.id ?? answer.regenerates;
    if (!regenerates) {
      const { replaces, text } = this.messages[place - 1];
      this.#drop(place - 1);
      return this.#askInstead(replaces, text);
    }
    this.#drop(place);
    const again = this.#add({ role: "bot", text: "", state: "waiting", regenerates });
    return this.#follow(again, { path: `/api/v1/messages/${regenerates}/regenerate`, body: { stream: true } });
  }

  /** End the answer that is being made, in the engine too. */
  stop() {
    const answer = this.running;
    if (!answer) return;
    answer.stopped = true;
    if (answer.id && answer.connected)
      this.api.json("POST", `/api/v1/chat/${answer.id}/cancel`).catch(() => answer.leave.abort());
    else answer.leave.abort();
  }

  /** `rating` is "up", "down" or null. */
  async rate(answer, rating, comment = "") {
    const body = rating ? { rating, comment } : { rating: null };
    await this.api.json("POST", `/api/v1/messages/${answer.id}/feedback`, body);
    answer.rating = rating;
    this.listener("rated", answer);
  }

  async list() {
    const { conversations } = await this.api.json("GET", "/api/v1/conversations?limit=100");
    return conversations;
  }

  /** Delete everything that this visitor has said, on the server. */
  async deleteAll() {
    this.stop();
    await this.api.json("DELETE", "/api/v1/conversations");
    this.clear();
  }

  /** Ask in the place of the question with that id; without one, at the end. */
  #askInstead(id, text) {
    this.#add({ role: "user", text, replaces: id });
    return this.#answer({ message: text, ...(id ? { edit: id } : this.#where()) });
  }

  #where() {
    return { bot: this.bot, conversation_id: this.conversation ?? undefined };
  }

  #answer(body) {
    const answer = this.#add({ role: "bot", text: "", state: "waiting" });
    return this.#follow(answer, { path: "/api/v1/chat", body: { ...body, stream: true } });
  }

  /** Bring an answer to its end, over as many connections as it takes. Without `order` it exists already. */
  async #follow(answer, order) {
    this.running = answer;
    Object.assign(answer, { leave: new AbortController(), stopped: false, unfinished: true, error: null });
    // A question of which nobody knows whether it arrived (browsers too repeat requests by themselves) is asked once.
    if (order) order.once = { "Idempotency-Key": randomKey() };
    if (!order) this.#change(answer, { state: "streaming" });
    let position = length(answer.text);
    let drops = 0;
    let lostAt = null;
    try {
      for (;;) {
        try {
          const response = await this.#open(answer, order, position);
          answer.connected = true;
          lostAt = null;
          this.listener("connection", null);
          this.#begun(answer, response.headers);
          for await (const event of readEvents(response.body)) {
            drops = 0;
            if (event.id !== null) position = event.id;
            if (this.#take(answer, event)) return;
          }
          throw new ApiError("offline", "the stream ended without an end");
        } catch (error) {
          answer.connected = false;
          if (answer.stopped) return this.#change(answer, { state: "cancelled" });
          // A stream that breaks raises a TypeError of the browser's, with no code.
          const lost = error.lost || !(error instanceof ApiError);
          const later = answer.id && error.retryAfter ? error.retryAfter * 1000 : 0;
          if (!lost && !later) throw error;
          lostAt ??= Date.now();
          if (Date.now() - lostAt > GIVE_UP_AFTER) throw error;
          this.listener("connection", answer);
          await pause(later || AFTER_A_DROP[Math.min(drops, AFTER_A_DROP.length - 1)], answer.leave.signal);
          drops += 1;
        }
      }
    } catch (error) {
      this.#change(answer, { state: answer.text ? "interrupted" : "error", error });
    } finally {
      if (this.running === answer) this.running = null;
      this.listener("connection", null);
      this.listener("ended", answer);
    }
  }

  #open(answer, order, position) {
    const signal = answer.leave.signal;
    if (!answer.id) return this.api.call("POST", order.path, { body: order.body, headers: order.once, signal });
    const headers = position ? { "Last-Event-ID": String(position) } : {};
    return this.api.call("GET", `/api/v1/chat/${answer.id}/stream`, { headers, signal });
  }

  #begun(answer, headers) {
    answer.id = headers.get("X-Message-Id") ?? answer.id;
    this.#remember(headers.get("X-Conversation-Id") ?? this.conversation);
    this.#change(answer, { state: answer.text ? "streaming" : "waiting" });
  }

  /** One event of the stream; true at the end. */
  #take(answer, { name, data }) {
    switch (name) {
      case "queued":
        this.#change(answer, { state: "queued", queue: data });
        return false;
      case "sources":
        answer.sources = data.sources ?? data;
        return false;
      case "token":
        if (answer.state !== "streaming") this.#change(answer, { state: "streaming", queue: null });
        answer.text += data.text;
        this.listener("text", answer);
        return false;
      case "replace":
        this.#change(answer, { state: "streaming", text: data.text });
        return false;
      case "done":
        this.#change(answer, {
          state: data.finish_reason === "cancelled" ? "cancelled" : "done",
          text: data.answer,
          html: data.answer_html,
          sources: data.sources,
          reason: data.finish_reason,
          truncated: data.context_truncated,
          unfinished: false,
        });
        return true;
      case "error":
        throw new ApiError(data.code, data.message);
      default:
        return false; // of a later version of the server
    }
  }

  async #questionId(question, answer) {
    if (question.id || !answer?.id || !this.conversation) return question.id;
    const stored = await this.#stored(this.conversation);
    return stored[stored.findIndex((message) => message.id === answer.id) - 1]?.id;
  }

  /** All messages of a conversation. */
  async #stored(id) {
    const messages = [];
    let cursor = "";
    do {
      const page = await this.api.json("GET", `/api/v1/conversations/${id}?limit=200&html=true${cursor}`);
      messages.push(...page.messages);
      cursor = page.next_cursor ? `&cursor=${encodeURIComponent(page.next_cursor)}` : "";
    } while (cursor);
    return messages.map((message) => ({
      role: message.role === "user" ? "user" : "bot",
      id: message.id,
      text: message.text,
      html: message.html,
      sources: message.sources ?? [],
      rating: message.feedback?.rating ?? null,
      reason: message.finish_reason,
      unfinished: message.role !== "user" && message.finish_reason === null,
      state:
        message.status === "complete" ? "done" : message.finish_reason === "cancelled" ? "cancelled" : "interrupted",
    }));
  }

  #add(message) {
    this.messages.push(message);
    this.listener("added", message);
    return message;
  }

  #change(message, what) {
    Object.assign(message, what);
    this.listener("changed", message);
  }

  /** Take the messages from `place` on away. */
  #drop(place) {
    for (const message of this.messages.splice(place)) this.listener("removed", message);
  }

  #remember(id) {
    this.conversation = id;
    this.remembered.set("conversations", { ...this.remembered.get("conversations"), [this.bot]: id ?? undefined });
  }
}
