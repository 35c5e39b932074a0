import { $, CORRECTIONS, HISTORY, LANGUAGE, fail, make, speak, state, store, stored, text } from "/page/state.js";
import { COLORS, lengthOf, redraw, timeline, tinted } from "/page/view.js";
import { beginBoxes, correcting, dropAnswer, fillIn, setDrawing } from "/page/boxes.js";
import { beginAgain, beginShowing, convert, show } from "/page/showing.js";
import { copy, save } from "/page/takeaway.js";

const MAX_HISTORY = 50, MAX_TURNS = 8, FILES = ["coco", "label-studio", "mot"];

// Asking

function form(asked, model) {
  const sent = new FormData();
  sent.append("question", asked.question);
  if (asked.task) sent.append("task", asked.task);
  if (asked.box) sent.append("box", JSON.stringify(asked.box));
  if (asked.earlier.length) {
    sent.append("earlier", JSON.stringify(asked.earlier));
    sent.append("before", state.before);
  }
  for (const option of asked.options) sent.append("options", option);
  for (const kind of FILES) sent.append("files", kind);
  if (model) sent.append("model", model);
  sent.append("stream", "true");
  sent.append("media", state.file, state.file.name);
  return sent;
}

/** A place for one model's answer. */
function said(model, index) {
  const item = make("div", "said"), thinking = make("details"), summary = make("summary", "waiting", text("thinking"));
  const thought = make("p", "thinking"), answer = make("p", "answer"), about = make("p", "quiet"), problems = make("ul", "problems");
  thinking.append(summary, thought);
  if (model) {
    const name = make("p", "by", model);
    name.style.setProperty("--mark", COLORS[index]);
    item.append(name);
  }
  item.append(thinking, answer, problems, about);
  return { item, summary, thinking, thought, answer, about, problems, index };
}

async function ask() {
  const question = $("question").value.trim();
  if (!question || !state.file || $("ask").disabled) return;
  const isChoice = $("task").value === "multiple choice";
  const options = isChoice ? $("options").value.split("\n").map((each) => each.trim()).filter(Boolean) : [];
  const asked = { question, task: $("task").value, box: state.box, options, earlier: state.turns };
  const models = state.models.length > 1 && $("both").checked ? state.models : [null];
  fail("");
  dropAnswer();
  correcting(false);
  const item = make("li"), columns = make("div", models.length > 1 ? "columns" : "");
  const places = models.map(said);
  columns.append(...places.map((place) => place.item));
  item.append(make("p", "asked", question), columns);
  $("turns").append(item);
  item.scrollIntoView({ block: "nearest" });
  if (document.activeElement === $("question")) $("question").select(); // what is typed next replaces it
  const sent = models.map((model) => form(asked, model));
  const stopping = (state.stopping = new AbortController());
  $("ask").disabled = true;
  $("stop").hidden = false;
  await Promise.all(places.map((place, index) => hearOut(sent[index], place, asked, stopping.signal)));
  if (!places.some(({ thought, answer, about }) => thought.textContent || answer.textContent || about.textContent)) item.remove();
  if (state.stopping !== stopping) return;
  $("ask").disabled = !state.file;
  $("stop").hidden = true;
}

async function hearOut(sent, place, asked, signal) {
  try {
    const response = await fetch("/v1/ask", { method: "POST", body: sent, signal });
    if (!response.ok) throw new Error((await response.json()).error.message);
    await listen(response, place, asked, signal);
  } catch (error) {
    if (!signal.aborted) fail(error instanceof TypeError ? text("gone") : error.message);
  } finally {
    place.summary.classList.remove("waiting");
  }
}

async function listen(response, place, asked, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done || signal.aborted) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) hear(block, place, asked);
  }
}

function hear(block, place, asked) {
  const found = /^event: (\w+)\ndata: (.*)$/s.exec(block);
  if (!found) return;
  const name = found[1], value = JSON.parse(found[2]);
  if (name === "thinking") place.thought.textContent += value.text;
  if (name === "answer") place.answer.textContent += value.text;
  if (name === "error") throw new Error(value.error.message);
  if (name === "done") finish(value, place, asked);
}

function finish(reply, place, asked) {
  place.answer.classList.toggle("places", Boolean(reply.boxes.length || reply.span));
  if (reply.answer !== null) place.answer.textContent = reply.answer_text;
  if (!place.answer.textContent.trim()) place.answer.textContent = text("noAnswer");
  place.thinking.hidden = !reply.thinking;
  const problems = isAfterEnd(reply) ? [...reply.problems, text("afterEnd")] : reply.problems;
  place.problems.replaceChildren(...problems.map((each) => make("li", "", each)));
  const seconds = (reply.timing.decode_s + reply.timing.answer_s).toFixed(1);
  place.about.replaceChildren(make("span", "tag", reply.task + (reply.guessed ? ` (${text("guessed")})` : "")));
  place.about.append(` ${seconds} s, ${reply.usage.completion_tokens} ${text("tokens")}`);
  if (place.index) state.other = reply;
  else keep(reply, asked);
  redraw();
}

function isAfterEnd(reply) {
  const duration = lengthOf(reply);
  return Boolean(duration) && Math.max(reply.span?.[0] ?? 0, reply.moment_s ?? 0) >= duration;
}

/** Take the first model's answer as that which is shown, exported, corrected and followed up. */
function keep(reply, asked) {
  const id = `page-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  Object.assign(state, { reply, told: structuredClone(reply), asked, id, before: reply.task }); // what is corrected is `reply`
  state.masks = reply.masks.map((mask) => ({ time: mask.time_s, canvas: tinted(mask.segmentation) }));
  state.turns = reply.turns.slice(-MAX_TURNS);
  $("said").textContent = reply.answer === null ? text("noAnswer") : `${text("answered")} ${reply.answer_text}`;
  $("outputs").hidden = $("afresh").hidden = false;
  $("noted").textContent = "";
  for (const kind of FILES) document.querySelector(`[data-save=${kind}]`).hidden = Boolean(reply.files[kind].error);
  timeline(reply);
  if (state.kind === "image" && lengthOf(reply)) convert().catch(() => {}); // a PNG or AVIF that moves
  remember(reply, asked);
}

// What was asked before

function remember(reply, asked) {
  const entry = { question: asked.question, task: reply.task, answer: (reply.answer_text || reply.text).slice(0, 300), name: state.file.name };
  store(HISTORY, [entry, ...stored(HISTORY, [])].slice(0, MAX_HISTORY));
  past();
}

function past() {
  const entries = stored(HISTORY, []);
  $("past").hidden = !entries.length;
  $("history").replaceChildren(
    ...entries.map((entry) => {
      const item = make("li"), again = make("button", "", String(entry.question));
      again.type = "button";
      again.addEventListener("click", () => {
        $("question").value = entry.question;
        $("question").focus();
      });
      item.append(again, ` ${entry.name}: ${entry.answer}`);
      return item;
    }),
  );
}

// Beginning

async function load() {
  const got = (path) => fetch(path).then((reply) => reply.json());
  const examples = got("/v1/examples"); // which are painted at the first call
  const [models, told, health] = await Promise.all(["/v1/models", "/v1/tasks", "/health"].map(got));
  state.models = models.data.map((each) => each.id);
  state.needsKey = health.needs_key;
  $("model").textContent = state.models.join(", ");
  $("both-label").hidden = state.models.length < 2;
  for (const name of new Set(told.tasks.map((task) => task.problem_type))) {
    const option = make("option", "", name);
    option.value = name;
    $("task").append(option);
  }
  $("examples").append(...(await examples).map(example));
}

function example({ name, question, task, box, options }) {
  const item = make("li"), button = make("button", "", question);
  button.type = "button";
  button.append(make("small", "", task));
  button.addEventListener("click", async () => {
    const reply = await fetch(`/v1/examples/${name}`);
    if (!reply.ok) return fail(text("gone"));
    show(new File([await reply.blob()], name, { type: reply.headers.get("Content-Type") }));
    $("question").value = question;
    $("task").value = task;
    $("options").value = options.join("\n");
    $("task").dispatchEvent(new Event("change"));
    state.box = box;
    state.isExample = true;
    setDrawing(false);
    redraw();
    $("ask").focus();
  });
  item.append(button);
  return item;
}

function beginAsking() {
  $("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("form").requestSubmit($("ask")); }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") state.stopping?.abort(); });
  $("stop").addEventListener("click", () => state.stopping?.abort());
  $("task").addEventListener("change", () => { $("options").hidden = $("options-label").hidden = $("task").value !== "multiple choice"; });
}

function beginTools() {
  $("draw").addEventListener("click", () => setDrawing($("draw").getAttribute("aria-pressed") !== "true"));
  $("clear-box").addEventListener("click", () => { state.box = null; setDrawing(false); redraw(); });
  $("afresh").addEventListener("click", () => { beginAgain(); redraw(); $("question").focus(); });
  $("forget").addEventListener("click", () => { store(HISTORY, []); store(CORRECTIONS, []); past(); });
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button.dataset.copy));
  for (const button of document.querySelectorAll("[data-save]")) button.addEventListener("click", () => save(button.dataset.save));
  for (const name of ["loadedmetadata", "seeked", "load"]) {
    for (const id of ["video", "picture"]) $(id).addEventListener(name, () => { fillIn(); redraw(); });
  }
  addEventListener("resize", redraw);
  const frame = () => { if (state.kind === "video" && !$("video").paused) redraw(); requestAnimationFrame(frame); };
  frame();
}

speak(stored(LANGUAGE, navigator.language.slice(0, 2)));
past();
beginShowing();
beginAsking();
beginTools();
beginBoxes();
load().catch(() => fail(text("gone")));
