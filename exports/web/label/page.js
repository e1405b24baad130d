/* The page to compare on: what is asked, shown and answered. ranking.js has the other views. */
import { openView, showOrder } from "./ranking.js";

const SIZES = [320, 640, 1024, 1600, 2400];
const SIDES = ["left", "right"];
const LEAST_LOOK = 150; // milliseconds in which no answer can be meant for a new pair
const find = (id) => document.getElementById(id);

// ---- The server -------------------------------------------------------------------------------

class Refused extends Error {}

/** Ask the server; while it does not answer, say so and ask again. */
export async function ask(path, sent = {}) {
  for (let failed = false; ; failed = true) {
    let response;
    try {
      response = await fetch(path, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent),
      });
    } catch {
      say("No answer from kpairs. Start it again to go on; every confirmed answer is kept.");
      await new Promise((done) => setTimeout(done, 700));
      continue;
    }
    const told = await response.json().catch(() => ({ error: response.statusText }));
    if (failed) say("");
    if (!response.ok) throw new Refused(told.error);
    return told;
  }
}

export function say(text) {
  find("message").textContent = text;
  find("message").hidden = !text;
}

// ---- Images, loaded ahead -----------------------------------------------------------------------

const loaded = new Map(); // by number and size

function load(number, size) {
  const key = `${number}/${size}`;
  if (!loaded.has(key)) loaded.set(key, fetched(key));
  return loaded.get(key);
}

async function fetched(key) {
  const response = await fetch(`image/${key}`);
  if (!response.ok) {
    loaded.delete(key);
    throw new Refused((await response.json()).error);
  }
  const [width, height] = response.headers.get("Kpairs-Size").split("x").map(Number);
  const image = new Image();
  image.src = URL.createObjectURL(await response.blob());
  await image.decode();
  return { image, width, height, key };
}

/** Forget images of pairs that are over. */
function release() {
  const numbers = new Set(state.queue.flatMap(({ left, right }) => [left, right]).map(String));
  for (const [key, found] of loaded) {
    if (numbers.has(key.split("/")[0])) continue;
    loaded.delete(key);
    found.then(({ image }) => URL.revokeObjectURL(image.src), () => {});
  }
}

/** The size to ask for: the pane's, in the screen's own pixels. */
function wanted() {
  const { clientWidth, clientHeight } = panes.left.view;
  const longest = Math.max(clientWidth, clientHeight) * devicePixelRatio;
  return SIZES.find((size) => size >= longest) || SIZES.at(-1);
}

// ---- The two panes: fit, zoom and move together -------------------------------------------------

const panes = Object.fromEntries(SIDES.map((side) => {
  const figure = find(side);
  return [side, { figure, view: figure.querySelector(".view"), shown: null }];
}));
const look = { actual: false, zoom: 1, x: 0.5, y: 0.5 };

function scaleOf({ view, shown }) {
  const fit = Math.min(view.clientWidth / shown.width, view.clientHeight / shown.height);
  return (look.actual ? 1 / devicePixelRatio : fit) * look.zoom;
}

/** Where an image's corner lies, and how large it is: centred, or without an empty edge. */
function placeOf(pane) {
  const { view, shown } = pane, scale = scaleOf(pane);
  const along = (inside, size, middle) => {
    const length = size * scale;
    return length <= inside ? (inside - length) / 2
      : Math.min(0, Math.max(inside - length, inside / 2 - middle * length));
  };
  return { scale, x: along(view.clientWidth, shown.width, look.x), y: along(view.clientHeight, shown.height, look.y) };
}

function place() {
  for (const pane of Object.values(panes)) {
    if (!pane.shown) continue;
    const { image, width, height } = pane.shown, { scale, x, y } = placeOf(pane);
    Object.assign(image.style, {
      width: `${width}px`, height: `${height}px`,
      transform: `translate(${x}px, ${y}px) scale(${scale})`,
      imageRendering: scale * devicePixelRatio >= 3 ? "pixelated" : "auto",
    });
  }
  find("fit").setAttribute("aria-pressed", String(!look.actual && look.zoom === 1));
  find("actual").setAttribute("aria-pressed", String(look.actual && look.zoom === 1));
  sharpen();
}

/** Load more pixels where the screen shows more than there are. */
let sharpening = 0;
function sharpen() {
  clearTimeout(sharpening);
  sharpening = setTimeout(async () => {
    for (const pane of Object.values(panes)) {
      const { shown } = pane;
      if (!shown) continue;
      const whole = Math.max(shown.width, shown.height);
      const needed = whole * Math.min(scaleOf(pane) * devicePixelRatio, 1);
      if (Math.max(shown.image.naturalWidth, shown.image.naturalHeight) >= 0.95 * needed) continue;
      const size = SIZES.find((one) => one >= needed) || 0;
      const finer = await load(shown.key.split("/")[0], size).catch(() => null);
      if (!finer || pane.shown !== shown) continue;
      put(pane, finer);
      place();
    }
  }, 120);
}

function put(pane, found) {
  pane.shown = found;
  found.image.alt = `${pane.figure.id} image`;
  pane.view.replaceChildren(found.image);
}

function zoomAt(pane, clientX, clientY, factor) {
  if (!pane.shown) return;
  const box = pane.view.getBoundingClientRect(), before = placeOf(pane);
  const [px, py] = [clientX - box.left, clientY - box.top];
  const u = (px - before.x) / (pane.shown.width * before.scale);
  const v = (py - before.y) / (pane.shown.height * before.scale);
  const least = look.actual ? 0.05 : 1;
  look.zoom = Math.min(Math.max(look.zoom * factor, least), 60);
  if (Math.abs(look.zoom - 1) < 0.02) look.zoom = 1;
  const scale = scaleOf(pane);
  look.x = (box.width / 2 - (px - u * pane.shown.width * scale)) / (pane.shown.width * scale);
  look.y = (box.height / 2 - (py - v * pane.shown.height * scale)) / (pane.shown.height * scale);
  place();
}

function moveBy(pane, dx, dy) {
  const { scale, x, y } = placeOf(pane), { view, shown } = pane;
  look.x = (view.clientWidth / 2 - (x + dx)) / (shown.width * scale);
  look.y = (view.clientHeight / 2 - (y + dy)) / (shown.height * scale);
  look.x = Math.min(Math.max(look.x, 0), 1);
  look.y = Math.min(Math.max(look.y, 0), 1);
  place();
}

function setLook(actual) {
  Object.assign(look, { actual, zoom: 1, x: 0.5, y: 0.5 });
  place();
}

function isLarger(pane) {
  const scale = pane.shown ? scaleOf(pane) : 0;
  return pane.shown && (pane.shown.width * scale > pane.view.clientWidth + 1
    || pane.shown.height * scale > pane.view.clientHeight + 1);
}

/** Beside each other or above each other, whichever shows them larger. */
function arrange() {
  const box = find("pair"), { clientWidth: w, clientHeight: h } = box;
  const both = SIDES.map((side) => panes[side].shown).filter(Boolean);
  const area = (width, height) => both.reduce((all, { width: a, height: b }) => {
    const scale = Math.min(width / a, height / b);
    return all + a * b * scale * scale;
  }, 0);
  const stacked = both.length ? area(w, h / 2) > 1.1 * area(w / 2, h) : h > w;
  box.classList.toggle("stacked", stacked);
  SIDES.forEach((side, i) => {
    const arrow = stacked && matchMedia("(pointer: coarse)").matches ? ["↑", "↓"][i] : ["←", "→"][i];
    find(`choose-${side}`).querySelector("kbd").textContent = arrow;
    find(`choose-${side}`).querySelector("span").textContent = stacked ? ["Upper", "Lower"][i] : ["Left", "Right"][i];
  });
}

// ---- Fingers and mice ----------------------------------------------------------------------------

const pointers = new Map();
let gesture = null; // of one press: where it began, how far it went

for (const side of SIDES) {
  const pane = panes[side], { view } = pane;
  // No gesture of the browser's own: after a swipe it would swallow a tap.
  view.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  view.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    view.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    gesture = pointers.size === 1
      ? { x: event.clientX, y: event.clientY, at: event.timeStamp, moved: 0, larger: isLarger(pane), several: false }
      : { ...gesture, several: true };
  });
  view.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before || !gesture) return;
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      const other = a.pointerId === event.pointerId ? b : a;
      const span = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
      zoomAt(pane, (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2, span(event) / Math.max(span(before), 1));
    } else {
      gesture.moved = Math.max(gesture.moved, Math.hypot(event.clientX - gesture.x, event.clientY - gesture.y));
      if (gesture.larger && gesture.moved > 6) {
        view.classList.add("moving");
        moveBy(pane, event.clientX - before.clientX, event.clientY - before.clientY);
      }
    }
    pointers.set(event.pointerId, event);
  });
  const end = (event) => {
    if (!pointers.delete(event.pointerId) || pointers.size || !gesture) return;
    view.classList.remove("moving");
    const { x, y, at, moved, larger, several } = gesture;
    gesture = null;
    if (event.type === "pointercancel" || several) return;
    const [dx, dy] = [event.clientX - x, event.clientY - y];
    if (moved < 8 && event.timeStamp - at < 800) return void answer(side);
    if (larger || event.pointerType === "mouse") return;
    const stacked = find("pair").classList.contains("stacked");
    const [along, across] = stacked ? [dy, dx] : [dx, dy];
    if (Math.abs(along) > 50 && Math.abs(along) > 1.5 * Math.abs(across)) answer(along < 0 ? "left" : "right");
  };
  view.addEventListener("pointerup", end);
  view.addEventListener("pointercancel", end);
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomAt(pane, event.clientX, event.clientY, Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)));
  }, { passive: false });
}

// ---- Asking and answering -----------------------------------------------------------------------

export let about = {};
let state = { queue: [] };
let current = null, shownAt = 0, busy = false, turn = 0; // turn counts answers and undos

/** Show the first pair of the queue, once both images are there; load the others meanwhile. */
async function show() {
  const question = state.queue[0];
  if (question !== current) current = null;
  if (!question) {
    SIDES.forEach((side) => { panes[side].shown = null; panes[side].view.replaceChildren(); });
    find("empty").hidden = false;
    find("empty").querySelector("p").textContent = state.images < 2 ? "No two images can be read."
      : state.done ? "Every pair has been compared. Thank you." : "Looking for the next pair …";
    if (!state.done) setTimeout(refresh, 500);
    return;
  }
  const size = wanted();
  let found;
  try {
    found = await Promise.all(SIDES.map((side) => load(question[side], size)));
  } catch (error) { // an image that cannot be read: the server leaves it out
    if (error instanceof Refused) return void refresh();
    setTimeout(show, 700);
    return;
  }
  if (state.queue[0]?.id !== question.id) return;
  SIDES.forEach((side, i) => put(panes[side], found[i]));
  find("empty").hidden = true;
  if (!look.actual || look.zoom !== 1) Object.assign(look, { actual: look.actual && look.zoom === 1, zoom: 1 });
  Object.assign(look, { x: 0.5, y: 0.5 });
  arrange();
  place();
  current = question;
  shownAt = performance.now();
  document.body.dataset.shown = question.id;
  release();
  for (const ahead of state.queue.slice(1)) {
    SIDES.forEach((side) => load(ahead[side], size).catch(() => {}));
  }
}

function take(found) {
  const same = found.queue[0]?.id === state.queue[0]?.id && current;
  state = found;
  showProgress();
  if (!same) return show();
  state.queue[0] = current;
  return undefined;
}

/** Take what changed meanwhile, unless an answer was given meanwhile: then it is out of date. */
async function refresh() {
  if (busy || about.judge === null) return;
  const begun = turn, found = await ask("state");
  if (!busy && turn === begun) take(found);
}

/** Answer the pair that is shown; the next one comes when this answer is on disk. */
async function answer(label) {
  if (busy || !current || document.querySelector("dialog[open]")) return;
  const pressed = performance.now();
  if (pressed - shownAt < LEAST_LOOK || (label === "tie" && !about.ties)) return;
  busy = true;
  turn += 1;
  const sides = label === "tie" ? SIDES : SIDES.filter((side) => side === label);
  sides.forEach((side) => panes[side].figure.classList.add("chosen"));
  try {
    await take(await ask("answer", {
      question: current.id, label, seconds: (pressed - shownAt) / 1000,
    }));
    say("");
    find("said").textContent = `${label ? `${label}, saved` : "skipped"}; ${state.judged} judged`;
    document.body.dataset.milliseconds = String(performance.now() - pressed);
  } catch (error) {
    await recover(error);
  }
  busy = false;
  SIDES.forEach((side) => panes[side].figure.classList.remove("chosen"));
  laterRefresh();
}

async function undo() {
  if (busy || document.querySelector("dialog[open]")) return;
  busy = true;
  turn += 1;
  try {
    await take(await ask("undo"));
    say("");
    find("said").textContent = `taken back; ${state.judged} judged`;
  } catch (error) {
    await recover(error);
  }
  busy = false;
  laterRefresh();
}

/** Show why an answer was refused, and what is asked now. */
async function recover(error) {
  if (!(error instanceof Refused)) throw error;
  await take(await ask("state"));
  say(error.message);
}

let refreshing = 0;
function laterRefresh(milliseconds = 1500) {
  clearTimeout(refreshing);
  refreshing = setTimeout(refresh, milliseconds);
}

// ---- How far it is ------------------------------------------------------------------------------

let dismissed = "";

export function showProgress(found = state) {
  const { judged, answers, images, tau, gain, last, enough, features } = found;
  const own = judged ?? answers;
  find("count").textContent = `${own.toLocaleString()} judged`;
  const long = (text) => Object.assign(document.createElement("span"), { className: "long", textContent: text });
  if (tau !== null && answers) {
    const right = Math.round(50 * (1 + tau));
    const more = features ? `; looking at images: ${features[0].toLocaleString()} of ${features[1].toLocaleString()}`
      : gain === null ? "" : `, ${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(2)} in the last ${last.toLocaleString()}`;
    find("order").replaceChildren(`about ${right} % `, long("of pairs "), "in order", long(` (tau ${tau.toFixed(2)}${more})`));
    find("meter").firstElementChild.style.width = `${2 * right - 100}%`;
    find("meter").setAttribute("aria-valuenow", String(right));
    find("help-order").textContent = `Of 100 pairs of the ${images.toLocaleString()} images, about ${right} are expected to stand in the right order (Kendall's tau ${tau.toFixed(2)}).`;
  } else {
    find("order").replaceChildren(features?.[0]
      ? long(`looking at images: ${features[0].toLocaleString()} of ${features[1].toLocaleString()}`) : "");
  }
  if (features || (answers && tau === null)) laterRefresh(3000);
  find("enough").hidden = !enough || enough === dismissed;
  find("enough").firstElementChild.textContent = enough ? `This may be enough: ${enough}.` : "";
  find("enough").dataset.reason = enough || "";
  showOrder(found);
}

find("enough-close").addEventListener("click", () => {
  dismissed = find("enough").dataset.reason;
  find("enough").hidden = true;
});

// ---- Keys and buttons ---------------------------------------------------------------------------

const KEYS = {
  ArrowLeft: () => answer("left"), ArrowRight: () => answer("right"),
  ArrowDown: () => answer("tie"), "=": () => answer("tie"), s: () => answer(""), z: undo,
  "0": () => setLook(false), "1": () => setLook(true),
  "+": () => zoomMiddle(1.4), "-": () => zoomMiddle(1 / 1.4),
};

function zoomMiddle(factor) {
  const pane = panes.left, box = pane.view.getBoundingClientRect();
  zoomAt(pane, box.left + box.width / 2, box.top + box.height / 2, factor);
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.altKey || event.metaKey || event.target.matches("select, input")) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "?") return void find("help").showModal();
  if (document.body.dataset.view !== "compare") return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(key in KEYS) || (event.ctrlKey && key !== "z")) return;
  event.preventDefault();
  KEYS[key]();
});

for (const [id, act] of Object.entries({
  undo, skip: KEYS.s, "choose-left": KEYS.ArrowLeft, "choose-right": KEYS.ArrowRight,
  "choose-tie": KEYS.ArrowDown, fit: KEYS["0"], actual: KEYS["1"],
  "help-open": () => find("help").showModal(),
})) find(id).addEventListener("click", act);

new ResizeObserver(() => { arrange(); place(); }).observe(find("pair"));

// ---- Begin --------------------------------------------------------------------------------------

async function begin() {
  about = await ask("begin");
  document.title = about.question;
  find("question").textContent = about.question;
  for (const part of [find("choose-tie"), ...document.querySelectorAll(".tie")]) part.hidden = !about.ties;
  find("tabs").hidden = !about.starter;
  find("tab-compare").hidden = about.judge === null;
  find("tab-judges").hidden = !about.several;
  openView(about.judge === null ? "judges" : "compare");
  const found = await ask("state");
  if (about.judge === null) showProgress(found); else take(found);
  say(about.dark);
}

begin().catch((error) => say(error.message));
