"use strict";
// The page: two pads, what each model says of them, and a folder in a model's order.

const config = JSON.parse(document.getElementById("config").textContent);
const SIDES = ["left", "right"];
const find = (name, within = document) => within.querySelector(`[data-is="${name}"]`);
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

// ---- What models say ------------------------------------------------------------------------

// A picture is {canvas, file, asIs}: asIs if the page made it, bright on dark or as the network sees
// pictures, so that its ink is neither guessed nor inverted.

const THUMBNAIL = 16; // pixels a side, as kpairs.judging.reference has it

/** Pixels (height, width, channels) as means of at most 16x16 parts. */
function thumbnail(pixels, { height, width, channels }) {
  const [rows, columns] = [height, width].map((side) => {
    const parts = Math.min(side, THUMBNAIL);
    const edges = Array.from({ length: parts }, (_, part) => Math.floor((part * side) / parts));
    return Array.from({ length: side }, (_, i) => edges.findLastIndex((edge) => edge <= i));
  });
  const size = [rows, columns].reduce((product, places) => product * (places.at(-1) + 1), channels);
  const sums = new Float64Array(size), counts = new Float64Array(size);
  pixels.forEach((pixel, i) => {
    const x = Math.floor(i / channels) % width, y = Math.floor(i / channels / width);
    const place = (rows[y] * (columns.at(-1) + 1) + columns[x]) * channels + (i % channels);
    sums[place] += pixel;
    counts[place] += 1;
  });
  return Array.from(sums, (total, i) => total / counts[i]);
}

/** Make a function that tells if pixels are far from a network's training images. */
function strangeTo(known, shape) {
  if (!known) return () => false;
  const [centre, scale, axes, spread] = ["centre", "scale", "axes", "spread"].map(
    (name) => new Float32Array(bytesOf(known[name]).buffer));
  return (pixels) => {
    const standard = thumbnail(pixels, shape).map((x, i) => (x - centre[i]) * scale[i]);
    const along = Array.from(spread, (_, k) =>
      sum(standard.map((x, i) => x * axes[i * spread.length + k])));
    const near = sum(along.map((x, k) => (x * x) / spread[k])) / spread.length;
    const beyond = (sum(standard.map((x) => x * x)) - sum(along.map((x) => x * x))) / known.rest;
    return near > known.limits[0] || beyond > known.limits[1];
  };
}

/** Make a function of {left, right} pictures that gives each model's {seen, doubtful, outputs}. */
function localAnswers() {
  const network = networkOf(config.graph), [{ pixels }] = config.models;
  const isStrange = strangeTo(config.known, pixels);
  const imageOf = ({ canvas }) =>
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const input = (picture) =>
    prepare(imageOf(picture), picture.asIs ? { ...pixels, ink: "mixed" } : pixels);
  return async (pictures) => {
    const [left, right] = SIDES.map((side) => input(pictures[side]));
    const doubtful = SIDES.filter(
      (side) => !pictures[side].asIs && isDoubtful(imageOf(pictures[side]), pixels));
    const far = SIDES.filter((_, i) => isStrange([left, right][i]));
    return [{ seen: { left, right }, doubtful, far, outputs: network(left, right) }];
  };
}

async function serverAnswers(pictures, explain = false) {
  const encoded = ({ canvas, file }) => file || canvas.toDataURL().split(",")[1];
  const [left, right] = SIDES.map((side) => encoded(pictures[side]));
  const response = await fetch("compare", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ left, right, as_is: SIDES.filter((side) => pictures[side].asIs), explain }),
  });
  const received = await response.json();
  if (!response.ok) throw new Error(received.error);
  return received.models;
}

const answers = config.graph ? localAnswers() : serverAnswers;

function probabilities(values, kind) {
  if (kind === "sigmoid") return [1 - values[0], values[0]];
  const most = Math.max(...values);
  const shares = kind === "logits" ? values.map((x) => Math.exp(x - most)) : values;
  return shares.map((share) => share / sum(shares));
}

/** One model's answer in words' terms: P(left <= right), and each side's probabilities or score. */
function read(model, { seen, outputs }) {
  const sides = {};
  for (const side of SIDES) {
    const told = Object.keys(model.outputs).find(
      (name) => name.startsWith(`${side}_`) && name !== `${side}_score`);
    const shares = told && probabilities(outputs[told], model.outputs[told]);
    const best = shares && shares.indexOf(Math.max(...shares));
    sides[side] = { seen: seen[side], shares, best, score: outputs[`${side}_score`]?.[0] };
  }
  const same = seen.left.every((pixel, i) => pixel === seen.right[i]);
  const [, holds] = probabilities(outputs.comparison, model.outputs.comparison);
  return { sides, same, holds };
}

// ---- Pictures -------------------------------------------------------------------------------

/** A file's picture: its pixels on a canvas, and its bytes as base64. */
async function pictureOf(file) {
  const { bytes, turn } = unturned(new Uint8Array(await file.arrayBuffer()));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: file.type }),
    { colorSpaceConversion: "none" }).catch(() => {
    throw new Error(`${file.name}: expected an image that this browser can show`);
  });
  const canvas = turned(bitmap, turn);
  const url = await new Promise((done, failed) => {
    const reader = Object.assign(new FileReader(), { onerror: () => failed(reader.error) });
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(file);
  });
  return { canvas, file: url.slice(url.indexOf(",") + 1), name: file.name };
}

/** A picture of the samples that came with the page. */
function sampleOf(number) {
  const { width, height, channels, data } = config.samples;
  const size = width * height * channels;
  const levels = bytesOf(data).subarray(number * size, (number + 1) * size);
  return { canvas: painted(levels, blank(width, height)), asIs: true };
}

/** One of the two places where a picture is drawn or dropped. */
class Pad {
  constructor(root, changed) {
    Object.assign(this, { root, changed, strokes: [], picture: null, name: find("name", root).textContent });
    this.canvas = find("paper", root);
    this.pen = this.canvas.getContext("2d");
    if (config.drawable) this.listenToPen();
    find("clear", root).addEventListener("click", () => this.clear());
    const file = find("file", root);
    file.addEventListener("change", () => file.files[0] && this.drop(file.files[0]));
    root.addEventListener("dragover", (event) => event.preventDefault());
    root.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) this.drop(event.dataTransfer.files[0]);
    });
  }

  listenToPen() {
    let stroke = null;
    const place = (event) => {
      const { left, top, width, height } = this.canvas.getBoundingClientRect();
      return [((event.clientX - left) * this.canvas.width) / width,
        ((event.clientY - top) * this.canvas.height) / height];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      if (!this.strokes.length) this.clear();
      stroke = [place(event)];
      this.strokes.push(stroke);
      this.draw();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!stroke) return;
      stroke.push(...(event.getCoalescedEvents?.() ?? [event]).map(place));
      this.draw();
    });
    const end = () => { stroke = null; };
    ["pointerup", "pointercancel"].forEach((name) => this.canvas.addEventListener(name, end));
  }

  /** Show the strokes as they are, and take them as MNIST would have. */
  draw() {
    Object.assign(this.pen, { lineWidth: 20, strokeStyle: "#fff", ...ROUND });
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const stroke of this.strokes) {
      this.pen.beginPath();
      this.pen.moveTo(...stroke[0]);
      stroke.forEach((point) => this.pen.lineTo(...point));
      this.pen.stroke();
    }
    this.picture = { canvas: digitOf(strokesDrawn(this.strokes)), asIs: true };
    this.root.classList.add("used");
    this.changed();
  }

  async drop(file) {
    try {
      this.show(await pictureOf(file));
    } catch (error) {
      say(error.message);
    }
  }

  show(picture) {
    this.clear();
    const { width, height } = picture.canvas, side = this.canvas.width;
    const scale = Math.min(side / width, side / height);
    this.pen.imageSmoothingEnabled = scale < 1;
    this.pen.drawImage(picture.canvas, (side - width * scale) / 2, (side - height * scale) / 2,
      width * scale, height * scale);
    this.picture = picture;
    find("name", this.root).textContent = picture.name || this.name;
    this.root.classList.add("used");
    this.changed();
  }

  clear() {
    this.strokes = [];
    this.picture = null;
    find("name", this.root).textContent = this.name;
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.root.classList.remove("used");
    this.changed();
  }
}

// ---- What is shown --------------------------------------------------------------------------

const cards = config.models.map((model) => {
  const card = find("card").content.firstElementChild.cloneNode(true);
  find("name", card).textContent = model.name;
  find("about", card).textContent = model.about;
  for (const side of SIDES) {
    const bars = find("bars", find(side, card));
    bars.replaceChildren(...model.classes.map((name) => {
      const bar = find("bar").content.firstElementChild.cloneNode(true);
      find("class", bar).textContent = name;
      return bar;
    }));
  }
  find("models").append(card);
  return card;
});

function showAnswer(number, answer, given) {
  const model = config.models[number], card = cards[number];
  const { sides, same, holds } = read(model, answer);
  SIDES.forEach((side, i) => showSide(find(side, card), side, model, sides[side], given[i]));
  SIDES.forEach((side) => {
    const map = find("map", find(side, card));
    map.hidden = !answer.maps;
    if (answer.maps) map.src = answer.maps[side];
  });
  find("method", card).textContent = answer.maps ? answer.maps.caption.join(" ") : "";
  const told = given.every(Boolean);
  const words = SIDES.map((side) => {
    const { best } = sides[side];
    return best === undefined || best === false ? side : model.classes[best];
  });
  const scores = sides.left.score !== undefined;
  const verdict = !told ? "" : same ? "one and the same picture"
    : scores ? `${holds > 0.5 ? "right" : "left"} ranks higher`
      : `${words[0]} ${holds > 0.5 ? "≤" : ">"} ${words[1]}`;
  if (scores) SIDES.forEach((side) => { find(`end-${side}`, card).textContent = `${side} ranks higher`; });
  find("verdict", card).textContent = verdict;
  find("holds", card).textContent = told && !same ? percent(Math.max(holds, 1 - holds)) : "";
  const odd = (sides, text) => sides.filter((side) => given[SIDES.indexOf(side)])
    .map((side) => `The ${side} picture ${text}.`);
  find("doubt", card).textContent = [
    ...odd(answer.doubtful, model.doubt), ...odd(answer.far ?? [], model.far),
  ].join(" ");
  const scale = find("scale", card);
  scale.style.setProperty("--holds", told ? holds : 0.5);
  const event = scores ? "P(right ranks higher)" : "P(left <= right)";
  scale.setAttribute("aria-label", told ? `${event} = ${percent(holds)}` : "no answer");
  return { verdict, holds: told ? holds : null, sides };
}

function showSide(root, side, model, { seen, shares, best, score }, given) {
  const { width, height } = model.pixels, canvas = find("seen", root);
  Object.assign(canvas, { width, height });
  painted(Array.from(seen, (pixel) => 255 * pixel), canvas);
  const label = find("label", root), bars = find("bars", root);
  bars.hidden = !shares;
  label.textContent = !given ? "nothing yet" : score !== undefined ? `score ${score.toFixed(2)}`
    : shares ? `${model.classes[best]}, ${percent(shares[best])}` : "what the network sees";
  bars.setAttribute("aria-label", `${side}: ${label.textContent}`);
  if (!shares) return;
  [...bars.children].forEach((bar, i) => {
    bar.style.setProperty("--share", given ? shares[i] : 0);
    bar.classList.toggle("best", given && i === best);
    bar.title = `${model.classes[i]}: ${percent(shares[i])}`;
  });
}

function say(text) {
  find("message").textContent = text;
}

// ---- Asking ---------------------------------------------------------------------------------

let asking = false, again = false;

/** Ask about what is on the pads; what changes meanwhile is asked about afterwards. */
async function ask() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  const started = performance.now(), pictures = pads.map((pad) => pad.picture);
  try {
    const empty = { canvas: blank(MNIST.side, MNIST.side), asIs: true };
    const given = pictures.map(Boolean), explain = given.every(Boolean) && find("explain").checked;
    const found = await answers({ left: pictures[0] || empty, right: pictures[1] || empty }, explain);
    const shown = found.map((answer, i) => showAnswer(i, answer, given));
    const spoken = shown.find(({ sides }) => sides.left.shares) || shown[0]; // it names the digits
    find("hint").textContent = given.every(Boolean) ? spoken.verdict : config.hint;
    document.body.dataset.answered = JSON.stringify({
      ms: performance.now() - started, verdicts: shown.map(({ verdict }) => verdict),
      best: shown.map(({ sides }) => SIDES.map((side) => sides[side].best)),
    });
    say("");
  } catch (error) {
    say(error.message);
  }
  asking = false;
  if (again) {
    again = false;
    ask();
  }
}

let waiting = false;
function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    ask();
  });
}

const pads = SIDES.map((side) => new Pad(find(`pad-${side}`), changed));

if (config.explains) {
  find("explains").hidden = false;
  find("explain").addEventListener("change", changed);
}

if (config.samples) {
  find("samples").hidden = false;
  find("samples").addEventListener("click", () => pads.forEach(
    (pad) => pad.show(sampleOf(Math.floor(Math.random() * config.samples.count)))));
}

const TRIES = 300; // pairs that are looked at for one on which models disagree

/** Show a pair of samples that one model puts in another order than another model. */
async function disagree() {
  const any = () => sampleOf(Math.floor(Math.random() * config.samples.count));
  for (let i = 0; i < TRIES; i++) {
    const pictures = { left: any(), right: any() };
    const found = (await answers(pictures)).map((answer, number) => read(config.models[number], answer));
    const shown = found.filter(({ same }, number) => !same && !cards[number].hidden);
    if (new Set(shown.map(({ holds }) => holds > 0.5)).size > 1) {
      pads.forEach((pad, side) => pad.show(pictures[SIDES[side]]));
      return;
    }
  }
  say(`These models agree on each of ${TRIES} pairs.`);
}

if (config.samples && config.models.length > 1) {
  find("disagree").hidden = false;
  find("disagree").addEventListener("click", () => disagree().catch((error) => say(error.message)));
}

if (config.models.length > 1) {
  config.models.forEach((model, i) => {
    const chip = find("chip").content.firstElementChild.cloneNode(true);
    const box = chip.querySelector("input");
    find("name", chip).textContent = model.name;
    box.addEventListener("change", () => { cards[i].hidden = !box.checked; });
    find("chips").append(chip);
  });
}

// ---- A folder in a model's order ------------------------------------------------------------

const ranking = config.models.findIndex(
  ({ outputs }) => Object.keys(outputs).some((name) => name.startsWith("left_")));

/** A picture's score: the network's own, or its expected class. */
function scoreOf({ sides }) {
  if (sides.left.score !== undefined) return sides.left.score;
  return sum(SIDES.map((side) => sum(sides[side].shares.map((share, rank) => share * rank)))) / 2;
}

/** Offer the order as a CSV file. */
function offer(shown) {
  const cell = (text) => `"${text.replaceAll('"', '""')}"`;
  const rows = shown.map(({ name, score }, place) => `${cell(name)},${score},${place + 1}\n`);
  const link = find("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob(["file,score,rank\n", ...rows], { type: "text/csv" }));
  link.hidden = false;
}

async function rank(files) {
  const list = find("ranked"), shown = [];
  let doubtful = 0, far = 0;
  for (const [number, file] of files.entries()) {
    try {
      const picture = await pictureOf(file);
      const answer = (await answers({ left: picture, right: picture }))[ranking];
      doubtful += Math.sign(answer.doubtful.length);
      far += Math.sign((answer.far ?? []).length);
      const item = find("item").content.firstElementChild.cloneNode(true);
      const image = item.querySelector("img");
      Object.assign(image, { src: URL.createObjectURL(file), alt: file.name, title: file.name });
      find("name", item).textContent = file.name;
      shown.push({ name: file.name, score: scoreOf(read(config.models[ranking], answer)), item });
    } catch (error) {
      say(error.message);
      continue;
    }
    shown.sort((a, b) => b.score - a.score);
    shown.forEach(({ item, score }, place) => {
      find("place", item).textContent = `${place + 1}. ${score.toFixed(2)}`;
    });
    list.replaceChildren(...shown.map(({ item }) => item));
    offer(shown);
    find("progress").textContent = `${number + 1} of ${files.length}`
      + (doubtful ? `; ${doubtful} of them: ${config.models[ranking].doubt}` : "")
      + (far ? `; ${far} of them: ${config.models[ranking].far}` : "");
  }
}

/** All image files among what was dropped, folders searched. */
async function filesOf(entries) {
  const found = [];
  for (const entry of entries.filter(Boolean)) {
    if (entry.isFile) {
      found.push(await new Promise((done, failed) => entry.file(done, failed)));
    } else {
      const reader = entry.createReader();
      const next = () => new Promise((done, failed) => reader.readEntries(done, failed));
      for (let part = await next(); part.length; part = await next()) {
        found.push(...await filesOf(part));
      }
    }
  }
  return found.filter(({ type }) => type.startsWith("image/"));
}

if (ranking >= 0) {
  const place = find("ranking"), input = find("folder", place);
  Object.assign(place, { hidden: false, open: !config.drawable });
  input.addEventListener("change", () => rank([...input.files].filter(
    ({ type }) => type.startsWith("image/"))));
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", async (event) => {
    event.preventDefault();
    rank(await filesOf([...event.dataTransfer.items].map((item) => item.webkitGetAsEntry())));
  });
}

// ---- Whether this browser computes what onnxruntime did ----------------------------------------

/** Compare what the network here says of the samples with what onnxruntime said. */
function selfCheck() {
  const { width, height, channels, count, data } = config.samples;
  const size = width * height * channels, levels = bytesOf(data), network = networkOf(config.graph);
  const input = (i) => Float32Array.from(levels.subarray(i * size, (i + 1) * size), (v) => v / 255);
  let furthest = 0;
  for (let i = 0; i < count; i += 2) {
    for (const [name, values] of Object.entries(network(input(i), input(i + 1)))) {
      const expected = config.expected[name][i / 2];
      const scale = Math.max(1, ...expected.map(Math.abs));
      values.forEach((value, n) => {
        furthest = Math.max(furthest, Math.abs(value - expected[n]) / scale);
      });
    }
  }
  return furthest;
}

find("hint").textContent = config.hint;
if (config.expected) {
  const furthest = selfCheck(), good = furthest < 1e-4;
  find("check").textContent = good
    ? `This browser computes what onnxruntime does: ${config.samples.count / 2} pairs agree.`
    : `This browser does not compute what onnxruntime does (${furthest.toExponential(1)}): `
      + "do not trust what it says.";
  find("check").classList.toggle("bad", !good);
}
ask();
