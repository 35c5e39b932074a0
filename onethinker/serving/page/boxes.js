// Boxes that a person draws, drags or types: the target of a question, and the corrections of an answer.
import { $, CORRECTIONS, fail, note, state, store, stored, text } from "/page/state.js";
import { boxAt, lengthOf, redraw, timeline } from "/page/view.js";
import { answerOf, download } from "/page/takeaway.js";

const SIDES = ["left", "top", "right", "bottom"], GRIP = 40, LEAST = 5;

/** The answered box that is shown now, null where none is. */
function nearest() {
  const time = state.kind === "video" ? $("video").currentTime : 0, boxes = state.reply?.boxes ?? [];
  if (!boxes.length || !boxAt(boxes, time)) return boxes[0] ?? null;
  return boxes.reduce((one, other) => (Math.abs(other.time_s - time) < Math.abs(one.time_s - time) ? other : one));
}

const current = () => (state.isCorrecting ? nearest()?.box ?? null : state.box);

function change(box) {
  if (state.isCorrecting && nearest()) nearest().box = box;
  if (!state.isCorrecting) state.box = box;
  fillIn();
  redraw();
}

export function fillIn() {
  const box = current();
  $("sides").hidden = !(state.isCorrecting ? box : $("draw").getAttribute("aria-pressed") === "true" || state.box);
  SIDES.forEach((side, index) => { if (document.activeElement !== $(side)) $(side).value = box ? Math.round(box[index]) : ""; });
}

export function setDrawing(isOn) {
  $("draw").setAttribute("aria-pressed", String(isOn));
  $("overlay").classList.toggle("drawing", isOn || (state.isCorrecting && Boolean(state.reply?.boxes.length)));
  if (isOn && state.kind === "video") Object.assign($("video"), { currentTime: 0 }).pause();
  $("clear-box").hidden = !state.box;
  fillIn();
}

/** Which sides of a box a point takes hold of: two at a corner, all inside, none elsewhere. */
function held(box, [x, y]) {
  const near = (value, index) => Math.abs(value - box[index]) < GRIP;
  const across = near(x, 0) ? 0 : near(x, 2) ? 2 : null, down = near(y, 1) ? 1 : near(y, 3) ? 3 : null;
  if (across !== null && down !== null) return [across, down];
  return x > box[0] && x < box[2] && y > box[1] && y < box[3] ? [0, 1, 2, 3] : [];
}

function ordered([x1, y1, x2, y2]) {
  return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
}

function dragged(box, sides, [x, y], [fromX, fromY]) {
  const limit = (shift, low, high) => Math.min(1000 - high, Math.max(-low, shift));
  const shiftX = sides.length === 4 ? limit(x - fromX, box[0], box[2]) : x - fromX;
  const shiftY = sides.length === 4 ? limit(y - fromY, box[1], box[3]) : y - fromY;
  return ordered(box.map((side, index) => (sides.includes(index) ? side + (index % 2 ? shiftY : shiftX) : side)));
}

export function beginBoxes() {
  let start = null, sides = [], before = null;
  const at = (event) => {
    const around = $("overlay").getBoundingClientRect();
    const share = (value, from, size) => Math.round(Math.min(1000, Math.max(0, (1000 * (value - from)) / size)));
    return [share(event.clientX, around.left, around.width), share(event.clientY, around.top, around.height)];
  };
  $("overlay").addEventListener("pointerdown", (event) => {
    start = at(event);
    before = current();
    sides = state.isCorrecting && before ? held(before, start) : [];
    if (state.isCorrecting && !sides.length) start = null;
    $("overlay").setPointerCapture(event.pointerId);
  });
  $("overlay").addEventListener("pointermove", (event) => {
    if (!start) return;
    if (state.isCorrecting) return change(dragged(before, sides, at(event), start));
    dropAnswer();
    change(ordered([...start, ...at(event)]));
  });
  $("overlay").addEventListener("pointerup", () => {
    if (start && !state.isCorrecting) finishDrawing();
    start = null;
  });
  for (const side of SIDES) $(side).addEventListener("input", typed);
  $("correct").addEventListener("click", () => correcting(!state.isCorrecting));
  for (const name of ["from", "to"]) $(name).addEventListener("input", retime);
  $("save-record").addEventListener("click", saveRecord);
}

function finishDrawing() {
  const [x1, y1, x2, y2] = state.box ?? [0, 0, 0, 0];
  if (x2 - x1 < LEAST || y2 - y1 < LEAST) state.box = null;
  if (state.box && state.kind === "video" && !$("task").value) $("task").value = "tracking";
  setDrawing(false);
  redraw();
}

function typed() {
  const box = SIDES.map((side) => $(side).valueAsNumber);
  if (box.every((value) => value >= 0 && value <= 1000) && box[0] < box[2] && box[1] < box[3]) change(box);
}

// Corrections

/** Show no answer, nor what acts on one. */
export function dropAnswer() {
  Object.assign(state, { reply: null, other: null, masks: [] });
  $("outputs").hidden = $("timeline").hidden = true;
}

export function correcting(isOn) {
  state.isCorrecting = isOn && Boolean(state.reply);
  $("correct").setAttribute("aria-pressed", String(state.isCorrecting));
  $("correction").hidden = !state.isCorrecting;
  if (state.isCorrecting) {
    const { reply, asked } = state, isPlaces = reply.boxes.length || reply.span;
    $("span-fields").hidden = !reply.span;
    $("save-record").hidden = asked.earlier.length > 0;
    $("follow-up").hidden = !asked.earlier.length;
    $("right-answer").hidden = $("right-answer-label").hidden = Boolean(isPlaces);
    $("right-answer").value = reply.answer_text;
    const duration = lengthOf(reply) ?? 0;
    if (reply.span) ["from", "to"].forEach((name, index) => Object.assign($(name), { max: Math.max(duration, reply.span[1]), value: reply.span[index] }));
    if (reply.span) tellSpan();
    if (state.kind === "video") $("video").pause();
  }
  setDrawing(false);
  redraw();
}

function tellSpan() {
  state.reply.span.forEach((second, index) => { $(["from-value", "to-value"][index]).value = second.toFixed(1); });
}

function retime() {
  const [from, to] = ["from", "to"].map((name) => $(name).valueAsNumber);
  state.reply.span = [Math.min(from, to), Math.max(from, to)];
  tellSpan();
  timeline(state.reply);
  redraw();
}

/** A line of `onethinker data from-answers`: what was asked and said, and the truth. */
export function record() {
  const { reply, asked } = state, answer = answerOf(reply);
  const truth = typeof answer === "string" ? $("right-answer").value.trim() : answer;
  const said = { text: reply.text, ...(reply.frame_px && { frame_px: reply.frame_px }) };
  return { id: state.id, media: [state.file.name], question: reply.question, task: reply.task, options: asked.options, ...said, truth };
}

function saveRecord() {
  const line = record(), lines = [...stored(CORRECTIONS, []).filter((each) => each.id !== line.id), line];
  const isKept = store(CORRECTIONS, lines);
  download(new Blob(lines.map((line) => `${JSON.stringify(line)}\n`), { type: "application/jsonl" }), "corrected.jsonl");
  note(isKept ? text("saved") : "");
  fail(isKept ? "" : text("notKept"));
}
