// The file that is asked about, as this browser can show it.
import { $, fail, media, speak, state, text } from "/page/state.js";
import { redraw } from "/page/view.js";
import { correcting, dropAnswer, setDrawing } from "/page/boxes.js";

const MAYBE_ANIMATED = ["image/gif", "image/webp", "image/apng"];

/** Forget what was asked about the file. */
export function beginAgain() {
  state.stopping?.abort();
  state.turns = [];
  dropAnswer();
  correcting(false);
  $("turns").replaceChildren();
  $("afresh").hidden = true;
  fail("");
}

export function show(file) {
  beginAgain();
  Object.assign(state, { file, box: null, isConverted: false, isExample: false });
  $("drop").hidden = true;
  $("viewer").hidden = $("tools").hidden = false;
  $("ask").disabled = false;
  present(file, file.type);
  if (MAYBE_ANIMATED.includes(file.type)) convert().catch(() => {}); // a still picture is shown already
}

function present(blob, type) {
  const kind = type.startsWith("video/") ? "video" : "image";
  if ($("viewer").dataset.address) URL.revokeObjectURL($("viewer").dataset.address);
  state.kind = kind;
  $("picture").hidden = kind === "video";
  $("video").hidden = kind !== "video";
  $("picture").removeAttribute("src");
  $("video").removeAttribute("src");
  media().src = $("viewer").dataset.address = URL.createObjectURL(blob);
  if (kind === "video") $("video").play().catch(() => {});
  $("save-clip").hidden = kind !== "video";
  setDrawing(false);
  speak(state.language);
  redraw();
}

/** Show what the server makes of a file: of a format that browsers lack, or of an animation, in which they cannot jump. */
export async function convert() {
  const file = state.file, sent = new FormData();
  sent.append("media", file, file.name);
  const reply = await fetch("/v1/draw", { method: "POST", body: sent });
  if (!reply.ok) throw new Error((await reply.json()).error.message);
  const blob = await reply.blob();
  if (state.file !== file) return;
  state.isConverted = true;
  present(blob, blob.type);
}

/** What to do where the browser cannot show the file. */
async function rescue() {
  const file = state.file;
  if (state.isConverted) return fail(text("notShown"));
  try {
    await convert();
  } catch (error) {
    if (state.file !== file) return;
    putAway();
    fail(error instanceof TypeError ? text("gone") : error.message);
  }
}

function putAway() {
  state.stopping?.abort();
  Object.assign(state, { file: null, kind: null });
  $("drop").hidden = false;
  $("viewer").hidden = $("tools").hidden = $("sides").hidden = true;
  $("ask").disabled = true;
}

function taken(files) {
  if (!files || !files[0]) return;
  if (state.isExample) {
    $("task").value = "";
    $("task").dispatchEvent(new Event("change"));
  }
  show(files[0]);
  if (files.length > 1) fail(text("onlyOne"));
}

export function beginShowing() {
  $("file").addEventListener("change", (event) => { taken(event.target.files); event.target.value = ""; });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      $("stage").classList.toggle("over", name === "dragover");
      if (name === "drop") taken(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => taken(event.clipboardData.files));
  for (const id of ["picture", "video"]) {
    $(id).addEventListener("error", () => {
      if (state.file && media() === $(id) && $(id).hasAttribute("src")) rescue();
    });
  }
}
