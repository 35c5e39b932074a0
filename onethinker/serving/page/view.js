// The answer over the media: boxes, trails, points and masks on a canvas, spans and moments on the timeline.
import { $, make, media, state, text } from "/page/state.js";

export const COLORS = ["#ff7a00", "#3d8bff"];

/** Where the media is inside its element: [left, top, width, height] in CSS pixels. */
export function placed() {
  const element = media(), around = $("viewer").getBoundingClientRect(), own = element.getBoundingClientRect();
  const width = element.videoWidth || element.naturalWidth || 1, height = element.videoHeight || element.naturalHeight || 1;
  const scale = Math.min(own.width / width, own.height / height);
  return [own.left - around.left + (own.width - width * scale) / 2, own.top - around.top + (own.height - height * scale) / 2, width * scale, height * scale];
}

/** The box at a second, between its neighbours; null outside of what the answer covers. */
export function boxAt(boxes, time) {
  if (state.kind === "image") return boxes.length ? boxes[0].box : null;
  if (boxes.length === 1) return Math.abs(boxes[0].time_s - time) < 0.5 ? boxes[0].box : null;
  const after = boxes.findIndex((each) => each.time_s >= time);
  if (after === -1) return boxes.length && time - boxes.at(-1).time_s < 0.5 ? boxes.at(-1).box : null;
  if (after === 0) return boxes[0].time_s - time < 0.5 ? boxes[0].box : null;
  const [one, other] = [boxes[after - 1], boxes[after]];
  const share = (time - one.time_s) / (other.time_s - one.time_s || 1);
  return one.box.map((side, index) => side + share * (other.box[index] - side));
}

export function redraw() {
  if (!state.kind) return;
  const canvas = $("overlay"), [left, top, width, height] = placed(), ratio = devicePixelRatio || 1;
  for (const { style } of [canvas, $("paper")]) {
    Object.assign(style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  }
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  paint(canvas.getContext("2d"), canvas.width, canvas.height, ratio);
  const now = $("timeline").querySelector(".now"), duration = state.reply && lengthOf(state.reply);
  if (now && duration) now.style.left = `${(100 * $("video").currentTime) / duration}%`;
}

export function paint(pen, width, height, ratio) {
  const time = state.kind === "video" ? $("video").currentTime : 0, reply = state.reply;
  const outline = (box, color, dashes = []) => {
    const [x1, y1, x2, y2] = box.map((side, index) => (side / 1000) * (index % 2 ? height : width));
    pen.setLineDash(dashes.map((dash) => dash * ratio));
    for (const [ink, thick] of [["#0009", 5], [color, 3]]) {
      pen.strokeStyle = ink;
      pen.lineWidth = thick * ratio;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
  };
  if (state.box && (state.kind === "image" || time < 0.3 || !reply)) outline(state.box, "#ffd400", [6, 4]);
  if (!reply) return;
  const mask = maskAt(time);
  if (mask) pen.drawImage(mask, 0, 0, width, height);
  trail(pen, reply.boxes, time, width, height, ratio);
  const box = boxAt(reply.boxes, time), beside = state.other && boxAt(state.other.boxes, time);
  if (beside) outline(beside, COLORS[1], [2, 4]);
  if (box) outline(box, COLORS[0]);
  const isShown = reply.moment_s === null || Math.abs(reply.moment_s - time) < 0.5;
  for (const [kind, color] of [["positive", "#27c46b"], ["negative", "#4d8dff"]]) {
    for (const [x, y] of (isShown && reply.points[kind]) || []) dot(pen, (x / 1000) * width, (y / 1000) * height, color, ratio);
  }
}

function dot(pen, x, y, color, ratio) {
  pen.beginPath();
  pen.arc(x, y, 5 * ratio, 0, 7);
  pen.fillStyle = color;
  pen.fill();
  pen.lineWidth = 2 * ratio;
  pen.strokeStyle = "#fff";
  pen.stroke();
}

function trail(pen, boxes, time, width, height, ratio) {
  const past = boxes.filter((each) => each.time_s <= time && state.kind === "video");
  if (past.length < 2) return;
  pen.setLineDash([]);
  pen.strokeStyle = `${COLORS[0]}99`;
  pen.lineWidth = 2 * ratio;
  pen.beginPath();
  for (const { box } of past) pen.lineTo(((box[0] + box[2]) / 2000) * width, ((box[1] + box[3]) / 2000) * height);
  pen.stroke();
}

function maskAt(time) {
  let best = null;
  for (const mask of state.masks) if (best === null || Math.abs(mask.time - time) < Math.abs(best.time - time)) best = mask;
  return best && (state.kind === "image" || Math.abs(best.time - time) < 0.5) ? best.canvas : null;
}

/** The numbers of COCO's compressed run lengths: 5 bits a character, from the third on as differences. */
function runsOf(counts) {
  const runs = [];
  for (let index = 0; index < counts.length; ) {
    let value = 0, shift = 0, code = 0;
    do {
      code = counts.charCodeAt(index++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
    } while (code & 32);
    if (code & 16) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

export function tinted({ size: [height, width], counts }) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d"), pixels = pen.createImageData(width, height);
  let position = 0, isInside = false;
  for (const run of runsOf(counts)) {
    for (let index = position; isInside && index < position + run; index++) {
      pixels.data.set([255, 122, 0, 120], 4 * ((index % height) * width + Math.floor(index / height)));
    }
    position += run;
    isInside = !isInside;
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

/** The seconds of the video that an answer is about, as the server reads it: browsers know no length of some files. */
export const lengthOf = (reply) => reply.media.find((each) => each.kind === "video")?.duration_s;

export function timeline(reply) {
  const duration = lengthOf(reply);
  $("timeline").replaceChildren();
  $("timeline").hidden = !duration;
  if (!duration) return;
  const part = (from, to, words, className) => {
    const button = make("button", className, words);
    button.type = "button";
    button.style.left = `${(100 * from) / duration}%`;
    if (to !== null) button.style.width = `${(100 * (Math.min(to, duration) - from)) / duration}%`;
    button.setAttribute("aria-label", to === null ? `${text("moment")} ${from.toFixed(2)} s` : `${from.toFixed(2)} – ${to.toFixed(2)} s`);
    button.addEventListener("click", () => { $("video").currentTime = from; redraw(); });
    $("timeline").append(button);
    if (to !== null && to - from < duration / 8) $("timeline").append(beside(button, words, (from + to) / 2 > duration / 2));
  };
  if (reply.span) part(reply.span[0], reply.span[1], `${reply.span[0].toFixed(1)}–${reply.span[1].toFixed(1)} s`, "");
  if (!reply.span) for (const { time_s } of reply.boxes) part(time_s, null, "", "moment");
  $("timeline").append(make("span", "now"));
  $("timeline").dataset.end = clock(duration);
}

/** The words of a part of the timeline that is too short for them, on the side with more room. */
function beside(button, words, isLeft) {
  const label = make("span", "label", words);
  button.textContent = "";
  label.style.left = button.style.left;
  label.classList.toggle("before", isLeft);
  return label;
}

function clock(seconds) {
  const whole = Math.round(seconds), parts = [Math.floor(whole / 60) % 60, whole % 60], hours = Math.floor(whole / 3600);
  const [minutes, rest] = parts.map((part) => String(part).padStart(2, "0"));
  return hours ? `${hours}:${minutes}:${rest}` : `${Number(minutes)}:${rest}`;
}
