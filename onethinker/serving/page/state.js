// What the page knows, and the small things that all of its parts need.
// Text of a model or a user is only ever set as textContent: nothing here makes HTML of a string.
import { TEXTS } from "/page/texts.js";

export const HISTORY = "onethinker.history", LANGUAGE = "onethinker.language", CORRECTIONS = "onethinker.corrections";
export const state = {
  file: null, kind: null, box: null, reply: null, told: null, other: null, turns: [], stopping: null, masks: [], models: [], needsKey: false, language: "en",
  isCorrecting: false, isConverted: false, isExample: false, id: null,
};
export const $ = (id) => document.getElementById(id);
export const text = (name) => TEXTS[state.language][name];
export const media = () => (state.kind === "video" ? $("video") : $("picture"));
export const make = (tag, className, words) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (words !== undefined) element.textContent = words;
  return element;
};
export const stored = (name, fallback) => {
  try { return JSON.parse(localStorage.getItem(name)) ?? fallback; } catch { return fallback; }
};
/** Keep a value in this browser; false where its store is full or forbidden. */
export const store = (name, value) => {
  try { localStorage.setItem(name, JSON.stringify(value)); return true; } catch { return false; }
};

export function speak(language) {
  state.language = TEXTS[language] ? language : "en";
  document.documentElement.lang = state.language;
  $("language").value = state.language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  if (state.kind) $("picture").alt = text("pictureOf"), $("video").setAttribute("aria-label", text("videoOf"));
  store(LANGUAGE, state.language);
}

/** Say something in passing, to those who see and to those who listen. */
export function note(words) {
  $("said").textContent = $("noted").textContent = words;
}

export function fail(words) {
  $("error").textContent = words;
  $("error").hidden = !words;
}
