// Two answers side by side, as they come. Without this script the form waits for both and shows them then.

const form = document.querySelector("[data-trial]");
const columns = document.querySelector("[data-columns]");
const stop = form.querySelector("[data-stop]");
const ask = form.querySelector("button");
let leaving = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  leaving?.abort();
  const mine = new AbortController();
  leaving = mine;
  ask.disabled = true;
  stop.hidden = false;
  stop.focus();
  const chosen = [form.elements.left, form.elements.right].map((select) => select.selectedOptions[0]);
  const parts = chosen.map((option) => column(option.textContent));
  columns.replaceChildren(...parts.map((part) => part.section));
  await Promise.all(chosen.map((option, place) => answer(option.value, parts[place], mine.signal)));
  if (leaving !== mine) return;
  ask.disabled = false;
  if (document.activeElement === stop) ask.focus();
  stop.hidden = true;
});

stop.addEventListener("click", () => leaving?.abort());

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// The text is read out once it is whole (`state` is the live part): read token by token nobody could follow it.
function column(name) {
  const section = element("section", "", "card");
  section.setAttribute("aria-label", `Answer of ${name}`);
  const text = element("p", "", "text");
  const state = element("p", "Waiting", "note");
  state.setAttribute("role", "status");
  const sources = element("div");
  section.append(element("h2", name), text, state, sources);
  return { section, text, state, sources };
}

async function answer(bot, part, signal) {
  const body = new FormData();
  body.set("csrf", form.elements.csrf.value);
  body.set("question", form.elements.question.value);
  body.set("bot", bot);
  const begun = performance.now();
  try {
    const response = await fetch("/bots/-/try/answer", { method: "POST", body, signal });
    if (response.redirected) return window.location.reload(); // logged out meanwhile
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new Error("no stream");
    let ended = false;
    for await (const [name, data] of events(response.body)) {
      ended = show(part, name, data, begun) || ended;
    }
    if (!ended) throw new Error("no end");
  } catch {
    part.state.className = signal.aborted ? "note" : "wrong";
    part.state.textContent = signal.aborted ? "Stopped." : "The answer broke off: the server could not be reached.";
  }
}

// Returns whether this was the end.
function show(part, name, data, begun) {
  switch (name) {
    case "queued":
      part.state.textContent = `Waiting: number ${data.position} in the queue`;
      return false;
    case "sources":
      part.sources.replaceChildren(...passages(data.sources));
      return false;
    case "token":
      if (!part.text.textContent) part.state.textContent = `First token after ${seconds((performance.now() - begun) / 1000)}`;
      part.text.textContent += data.text;
      return false;
    case "replace":
      part.text.textContent = data.text;
      return false;
    case "done":
      part.text.textContent = data.answer;
      part.sources.replaceChildren(...passages(data.sources));
      part.state.textContent = figures(data);
      return true;
    case "error":
      part.state.className = "wrong";
      part.state.textContent = data.message;
      return true;
  }
  return false;
}

function figures(data) {
  let text = `First token after ${seconds(data.first_token_s)}, all after ${seconds(data.total_s)}`;
  if (data.queued) text += ", waiting in the queue included";
  if (data.usage.completion_tokens !== null) {
    text += `; ${data.usage.completion_tokens} tokens behind a prompt of ${data.usage.prompt_tokens ?? 0}`;
  }
  if (data.finish_reason === "rule") text += "; by a rule, without the model";
  if (data.finish_reason === "length") text += "; cut at the longest answer";
  return `${text}.`;
}

function seconds(value) {
  if (value === null) return "-";
  return value < 10 ? `${value.toFixed(2)} s` : `${Math.round(value)} s`;
}

function passages(sources) {
  if (!sources.length) return [];
  const list = element("ol");
  for (const source of sources) {
    const item = element("li");
    const title = element(/^https?:/.test(source.url) ? "a" : "span", source.title);
    if (title.localName === "a") {
      title.href = source.url;
      title.rel = "noreferrer";
    }
    item.append(title, element("br"), element("span", source.snippet, "note"));
    list.append(item);
  }
  return [element("h3", "Passages"), list];
}

// The events of a stream, one [name, data] after the other.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const name = /^event: (.*)$/m.exec(frame);
      const data = /^data: (.*)$/m.exec(frame);
      if (name && data) yield [name[1], JSON.parse(data[1])];
    }
  }
}
