// What can be taken away: the question as a line of another program, the answer as files.
import { $, fail, make, media, note, state, text } from "/page/state.js";
import { paint } from "/page/view.js";

const quoted = (words) => `'${String(words).replaceAll("'", `'\\''`)}'`;

/** The last question, with those before it, as a line of another program. */
export function command(kind) {
  const { question, box, options, earlier } = state.asked, { task } = state.reply, name = state.file.name, server = `${location.origin}/v1`;
  if (kind === "curl") return curl(name);
  const turns = earlier.map((turn) => [turn.question, turn.answer]);
  if (kind === "cli") {
    const flags = (box ? ` --box ${box.join(" ")}` : "") + (options.length ? ` --options ${options.map(quoted).join(" ")}` : "");
    const before = turns.length ? ` --earlier ${turns.flat().map(quoted).join(" ")}` : "";
    const key = state.needsKey ? "ONETHINKER_API_KEY=$KEY " : "", path = name.startsWith("-") ? `./${name}` : name;
    return `${key}onethinker ask ${quoted(path)} ${quoted(question)} --model ${server} --task ${quoted(task)}${flags}${before}`;
  }
  const fields = { task, ...(box && { box }), ...(options.length && { options }), ...(turns.length && { earlier: turns }) };
  const extra = Object.entries(fields).map(([field, value]) => `, ${field}=${JSON.stringify(value)}`).join("");
  return [
    "from onethinker import Thinker\n",
    `thinker = Thinker.load(${JSON.stringify(server)})${state.needsKey ? "  # ONETHINKER_API_KEY in the environment is the key" : ""}`,
    `thought = thinker.ask(${JSON.stringify(name)}, ${JSON.stringify(question)}${extra})`,
    "print(thought.answer)\n",
  ].join("\n");
}

/** As --form-string, because -F reads a file where words begin with < or @. */
function curl(name) {
  const { question, box, options, earlier } = state.asked, { model, task } = state.reply;
  const fields = [["question", question], ["task", task], ...options.map((each) => ["options", each])];
  if (box) fields.push(["box", JSON.stringify(box)]);
  if (earlier.length) fields.push(["earlier", JSON.stringify(earlier)]);
  if (state.models.length > 1) fields.push(["model", model]);
  const words = fields.map(([field, value]) => `--form-string ${quoted(`${field}=${value}`)}`).join(" ");
  const key = state.needsKey ? ' -H "Authorization: Bearer $KEY"' : "";
  const file = name.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  return `curl${key} -F ${quoted(`media=@"${file}"`)} ${words} ${location.origin}/v1/ask`;
}

/** The inside of a reply's answer block, from what it places, which a person may have corrected. */
export function answerOf(reply) {
  const [first] = reply.boxes, { positive, negative } = reply.points;
  if (!first && !reply.span) return reply.answer_text || "";
  const from = reply.task === "tracking" ? 1 : 0; // a track counts its seconds from 1
  const boxes = first && Object.fromEntries(reply.boxes.map(({ time_s, box }) => [String(time_s + from), box]));
  if (reply.task === "tracking") return { boxes };
  if (reply.task === "temporal grounding") return { time: reply.span };
  if (reply.task === "spatial-temporal grounding") return { time: reply.span, boxes };
  const moment = reply.moment_s === null ? {} : { time: reply.moment_s };
  return { ...moment, boxes: first.box, ...(positive && { positive_points: positive, negative_points: negative }) };
}

export function save(kind) {
  if (kind === "picture") return drawnPicture();
  if (kind === "clip") return drawnClip().catch(() => fail(text("gone")));
  const value = kind === "json" ? { ...state.told, files: undefined } : state.told.files[kind];
  if (kind === "mot") return download(new Blob([value], { type: "text/plain" }), "mot.txt");
  return download(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }), `${kind}.json`);
}

function drawnPicture() {
  const source = media(), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [source.videoWidth || source.naturalWidth, source.videoHeight || source.naturalHeight];
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(source, 0, 0, canvas.width, canvas.height);
  paint(pen, canvas.width, canvas.height, Math.max(1, canvas.width / 800));
  canvas.toBlob((blob) => download(blob, "answer.png"));
}

/** The clip with the answer drawn in, which the server makes. */
async function drawnClip() {
  const sent = new FormData(), answer = answerOf(state.reply);
  sent.append("task", state.reply.task);
  sent.append("answer", typeof answer === "string" ? answer : JSON.stringify(answer));
  for (const option of state.asked.options) sent.append("options", option);
  sent.append("media", state.file, state.file.name);
  const reply = await fetch("/v1/draw", { method: "POST", body: sent });
  if (!reply.ok) return fail((await reply.json()).error.message);
  return download(await reply.blob(), "answer.mp4");
}

export function download(blob, name) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function copy(kind) {
  try {
    await navigator.clipboard.writeText(command(kind));
    note(text("copied"));
  } catch {
    fail(text("noCopy"));
  }
}
