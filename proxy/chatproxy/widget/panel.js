/** The chat itself: header and menu, the log of messages, the composer. The widget and the chat page both show it. */
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { h, iconButton } from "./dom.js";
import { MessageView, errorText } from "./message.js";

const NEAR_THE_END = 80; // px: who is as near as this follows what comes
const FIRST = "input, a, [data-action=keep]"; // of what is open
const ROOMY = matchMedia("(min-width: 800px)"); // style.css has the same

export class Panel {
  #views = new Map();
  #following = true;

  /**
   * `config` is the server's description of the bot (null where it gave none, `refused` says why), `options` what the
   * page itself wants, `events` where question, answer and error are told, `onclose` for a panel that can be closed.
   */
  constructor({ api, store, t, options, config, refused, events, onclose }) {
    Object.assign(this, { api, store, t, options, events, onclose, config, refused });
    this.page = !onclose;
    this.element = this.#build();
    if (config) this.#use(config);
    else {
      this.menuButton.hidden = true;
      this.#arrange();
      this.#tell(errorText(t, refused));
    }
    addEventListener("offline", () => this.#tell(t("offline")));
    addEventListener("online", () => this.#tell(""));
    if (!navigator.onLine) this.#tell(t("offline"));
  }

  /** To be called once the panel is in the page; fetches what was said before. */
  async begin() {
    if (!this.config) return;
    await this.#try(() => this.chat.restore());
    this.begun = true;
    this.#arrange();
    if (this.beside) this.#refreshHistory();
  }

  /** To where one goes on: in what is open, else where one writes. */
  focus() {
    const { consent, composer, log, side, history } = this;
    // A phone's keyboard would cover what there is to read.
    const field = !matchMedia("(pointer: coarse)").matches && composer.field;
    const places = [side.querySelector(FIRST), !this.beside && history.firstChild, consent.lastChild, field, log];
    places.find((place) => place && place.checkVisibility())?.focus();
  }

  /** What has the focus may go away with `act`, which is nothing that the visitor does: then the focus is led on. */
  #keepFocus(act) {
    const had = this.element.getRootNode().activeElement;
    const done = act();
    // By the attribute, because asking for what is seen would lay the page out at each token.
    if (had && (!had.isConnected || had.closest("[hidden]"))) this.focus();
    return done;
  }

  /** What cannot be asked now (the consent is missing, an answer is under way) waits in the field. */
  async ask(text) {
    if (!this.chat || !text.trim()) return false;
    if (this.chat.busy || !this.#agreed) {
      this.composer.offer(text);
      return false;
    }
    this.#following = true;
    this.#show(this.log);
    this.events.dispatchEvent(new CustomEvent("question", { detail: { text } }));
    await this.chat.ask(text);
    return true;
  }

  #build() {
    const { t } = this;
    this.title = h(this.page ? "h1.title" : "h2.title", { id: "title" });
    this.bots = h("label.bots", { hidden: true }, h("span.hidden", {}, t("bots")));
    this.menuButton = iconButton("menu", t("menu"), () => this.#toggleMenu());
    this.menuButton.classList.add("menu-button");
    this.menuButton.setAttribute("aria-expanded", "false");
    this.menu = h("div.menu", { hidden: true });
    const close = this.onclose && iconButton("close", t("close"), this.onclose);
    const header = h("header", {}, this.title, this.bots, this.menuButton, close, this.menu);
    this.log = h("div.log", { role: "log", "aria-live": "off", "aria-label": t("log"), tabindex: 0 });
    this.log.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.log;
      this.#following = scrollHeight - scrollTop - clientHeight < NEAR_THE_END;
    });
    this.list = h("div");
    this.history = h("nav.history", { "aria-label": t("history") });
    this.side = h("section.side", { hidden: true });
    this.quick = h("div.quick", { hidden: true });
    this.status = h("p.status", { role: "status" });
    this.consent = h("div.consent", { hidden: true });
    this.composer = new Composer(t, this.options.placeholder, {
      send: (text) => this.ask(text),
      edit: (message, text) => this.#try(() => this.chat.edit(message, text)),
      stop: () => this.chat.stop(),
    });
    this.announcer = h("div.announce.hidden", { "aria-live": "polite" });
    const talk = h("div.talk", {}, this.log, this.side, this.quick, this.status, this.consent, this.composer.element);
    const element = this.page
      ? h("main.panel.page")
      : h("section.panel", { role: "dialog", "aria-labelledby": "title" });
    element.append(header, talk, this.announcer);
    const place = () => {
      const [action, act] = this.beside ? ["new", () => this.#new()] : ["back", () => this.#back()];
      const button = h("button", { type: "button", "data-action": action, onclick: act }, t(action));
      this.list.replaceChildren();
      this.history.replaceChildren(button, this.list);
      this.history.hidden = !this.beside;
      if (this.beside) header.after(this.history);
      else this.log.after(this.history);
    };
    place();
    ROOMY.addEventListener("change", () => {
      this.#keepFocus(() => (place(), this.#show(this.log)));
      if (this.begun) this.#refreshHistory();
    });
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("click", (event) => {
      const path = event.composedPath();
      if (!this.menu.hidden && !path.includes(this.menu) && !path.includes(this.menuButton)) this.#toggleMenu(false);
    });
    return element;
  }

  /** Talk to the bot that `config` describes. */
  #use(config) {
    const { bot, bots } = config;
    const { options, t } = this;
    this.config = config;
    this.bot = { ...bot, greeting: options.greeting ?? bot.greeting, consent: options.consent ?? bot.consent };
    this.title.textContent = options.title ?? bot.name;
    this.composer.most = bot.max_message;
    this.log.replaceChildren();
    this.#views.clear();
    const hear = (kind, message) => this.#keepFocus(() => this.#hear(kind, message));
    this.chat = new Chat(this.api, this.store, bot.id, hear);
    if (this.page && bots.length > 1 && !this.bots.querySelector("select")) {
      const choices = bots.map(({ id, name }) => h("option", { value: id, selected: id === bot.id }, name));
      this.bots.append(h("select", { onchange: (event) => this.#switch(event.target.value) }, ...choices));
      this.bots.hidden = false;
    }
    const replies = options.quickReplies ?? bot.quick_replies;
    const reply = (text) => () => (this.ask(text), this.focus());
    this.quick.replaceChildren(
      ...replies.map((text) => h("button", { type: "button", dir: "auto", onclick: reply(text) }, text)),
    );
    const agree = h("button", { type: "button", "data-action": "agree", onclick: () => this.#agree() }, t("agree"));
    this.consent.replaceChildren(h("p", {}, this.bot.consent), agree);
    this.#greet();
    this.#arrange();
  }

  async #switch(bot, conversation = null) {
    this.chat.stop();
    await this.#try(async () => {
      const config = await this.api.describe(bot);
      this.#keepFocus(() => this.#use(config));
      this.bots.querySelector("select").value = bot;
      await (conversation ? this.chat.load(conversation) : this.chat.restore());
    });
  }

  /** Whether the list of conversations stands beside the log; else the menu leads to it. */
  get beside() {
    return this.page && ROOMY.matches;
  }

  get #agreed() {
    // To this bot's words, and anew where they have changed.
    return !this.bot.consent || this.store.get("agreed")?.[this.bot.id] === this.bot.consent;
  }

  #agree() {
    this.store.set("agreed", { ...this.store.get("agreed"), [this.bot.id]: this.bot.consent });
    this.#arrange();
    this.composer.field.focus();
  }

  /** Show what fits the state. */
  #arrange() {
    const empty = !this.chat?.messages.length;
    const talking = this.bot && !this.log.hidden;
    this.consent.hidden = !talking || this.#agreed;
    this.composer.element.hidden = !talking || !this.#agreed;
    this.composer.busy = this.chat?.busy ?? false;
    this.quick.hidden = this.composer.element.hidden || !empty || !this.quick.childElementCount;
  }

  #greet() {
    if (!this.bot.greeting) return;
    const text = h("div.text", { dir: "auto" }, this.bot.greeting);
    this.log.prepend(h("article.message.bot.greeting", { "aria-label": this.title.textContent }, text));
  }

  // What the conversation tells.

  #hear(kind, message) {
    const view = this.#views.get(message);
    if (kind === "added") this.#added(message);
    else if (kind === "text") view?.grown();
    else if (kind === "changed") view?.changed();
    else if (kind === "rated") view?.rated();
    else if (kind === "removed") (view?.element.remove(), this.#views.delete(message));
    else if (kind === "connection") this.#tell(message ? this.t(navigator.onLine ? "reconnecting" : "offline") : "");
    else if (kind === "ended") this.#ended(message);
    else if (kind === "cleared") {
      this.#views.clear();
      this.log.replaceChildren();
      this.#greet();
    }
    this.#arrange();
    this.#follow();
  }

  #added(message) {
    const view = new MessageView(message, this.t, this.title.textContent, {
      retry: (answer) => this.#unlessBusy(() => (this.focus(), this.chat.retry(answer))),
      edit: (question) => this.#unlessBusy(() => this.composer.edit(question)),
      rate: (answer, rating, comment) => this.#try(() => this.chat.rate(answer, rating, comment)),
      announce: (text) => this.#announce(text),
    });
    view.onshown = () => this.#follow();
    this.#views.set(message, view);
    this.log.append(view.element);
  }

  #ended(message) {
    const view = this.#views.get(message);
    if (!view) return;
    const { text, html, id, state, error } = message;
    const said = state === "done" ? view.text.textContent : view.note.textContent;
    this.#announce(`${this.title.textContent}: ${said}`);
    if (error)
      this.events.dispatchEvent(new CustomEvent("error", { detail: { code: error.code, message: error.message } }));
    else this.events.dispatchEvent(new CustomEvent("answer", { detail: { id, text, html, state } }));
    if (this.beside) this.#refreshHistory();
  }

  #follow() {
    if (this.#following) this.log.scrollTop = this.log.scrollHeight;
  }

  /** Let a screen reader say this, once. */
  #announce(text) {
    this.announcer.replaceChildren(h("p", {}, text));
  }

  #tell(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  async #try(act) {
    try {
      await act();
      return true;
    } catch (error) {
      this.#tell(errorText(this.t, error));
      return false;
    }
  }

  #unlessBusy(act) {
    if (this.chat.busy) return;
    this.#following = true;
    this.#try(act);
  }

  // The menu and what it opens.

  #toggleMenu(open = this.menu.hidden) {
    const { t, chat } = this;
    this.menu.hidden = !open;
    this.menuButton.setAttribute("aria-expanded", String(open));
    if (!open) return;
    // The menu stays, and with it the focus, until there is what was chosen.
    const item = (action, act) =>
      h("button", { type: "button", "data-action": action, onclick: () => this.#try(act) }, t(action));
    const items = [];
    if (chat) {
      items.push(item("new", () => this.#new()));
      if (!this.beside) items.push(item("history", () => this.#showHistory()));
      if (this.bot.handoff && chat.messages.length) items.push(item("email", () => this.#open(import("./mail.js"))));
      items.push(item("delete", () => this.#open(import("./delete.js"))));
    }
    this.menu.replaceChildren(...items);
    this.menu.querySelector("button")?.focus();
  }

  #new() {
    this.chat.clear();
    this.#show(this.log);
    this.focus();
  }

  /** One of log, side and (in the widget) history is seen; the focus is the caller's to place. */
  #show(part) {
    this.#toggleMenu(false);
    this.log.hidden = part !== this.log;
    this.side.hidden = part !== this.side;
    if (!this.beside) this.history.hidden = part !== this.history;
    this.#arrange();
  }

  #back() {
    this.#show(this.log);
    this.focus();
  }

  /** Show what a module makes, in the log's place; it gets ways back: at a press, and once what it is for is done. */
  async #open(module) {
    const { dialog } = await module;
    if (this.menu.hidden) return; // the visitor has turned to something else
    const done = (text) => {
      this.#tell(text);
      if (this.beside) this.#refreshHistory();
      if (made.isConnected && !this.side.hidden) this.#keepFocus(() => this.#show(this.log));
    };
    const made = dialog(this, () => this.#back(), done);
    this.side.replaceChildren(made);
    this.#show(this.side);
    this.focus();
  }

  async #showHistory() {
    this.list.replaceChildren();
    this.#show(this.history);
    this.focus();
    await this.#refreshHistory();
  }

  async #refreshHistory() {
    const { t, chat } = this;
    let conversations = [];
    // Who has never asked anything has no history, and needs no token to learn that.
    if (this.store.get("token")) await this.#try(async () => (conversations = await chat.list()));
    if (!this.page) conversations = conversations.filter(({ bot }) => bot === chat.bot);
    const { conversationList } = await import("./history.js");
    const list = conversationList(t, conversations, chat.conversation, (id, bot) => this.#go(id, bot));
    const id = this.list.querySelector(":focus")?.dataset.id;
    this.list.replaceChildren(list);
    if (id) (this.list.querySelector(`[data-id="${id}"]`) ?? this.history.firstChild).focus();
  }

  async #go(id, bot) {
    this.#show(this.log);
    this.#following = true;
    this.focus();
    if (bot !== this.chat.bot) await this.#switch(bot, id);
    else await this.#try(() => this.chat.load(id));
  }

  #key(event) {
    if (event.key === "Escape") {
      if (!this.menu.hidden) (this.#toggleMenu(false), this.menuButton.focus());
      else if (this.log.hidden) this.#back();
      else if (!this.composer.leaveEdit()) this.onclose?.();
      else return;
      event.stopPropagation();
    }
  }
}
