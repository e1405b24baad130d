"use strict";
// From what is drawn or dropped to a network's input. `prepare` does what kpairs.data.pixels does
// in Python; `digitOf` does to strokes what was done to MNIST's digits.

const PAPER = { bright: 0, dark: 255, mixed: 128 };

/** Means over equal parts of a window of a grey picture; what lies outside it counts as 0. */
function areaMeans({ data, width, height }, { x, y, wide, high }, columns, rows) {
  const lines = new Float64Array(rows * width), out = new Float64Array(rows * columns);
  shares(y, high / rows, rows, height, (row, line, share) => {
    for (let i = 0; i < width; i++) lines[row * width + i] += share * data[line * width + i];
  });
  shares(x, wide / columns, columns, width, (column, i, share) => {
    for (let row = 0; row < rows; row++) {
      out[row * columns + column] += share * lines[row * width + i];
    }
  });
  return out;
}

/** Tell f(part, pixel, share) what share of each part along one axis a pixel is. */
function shares(start, step, parts, pixels, f) {
  for (let part = 0; part < parts; part++) {
    const from = start + part * step, to = from + step;
    const last = Math.min(pixels, Math.ceil(to));
    for (let pixel = Math.max(0, Math.floor(from)); pixel < last; pixel++) {
      const share = Math.min(to, pixel + 1) - Math.max(from, pixel);
      if (share > 0) f(part, pixel, share / step);
    }
  }
}

/** Whether a picture (ImageData) is dark on bright, by what is drawn on nothing, or its border. */
function looksDark({ data, width, height }) {
  const grey = (i) => (299 * data[i] + 587 * data[i + 1] + 114 * data[i + 2]) / 1000;
  let ink = 0, opaque = 0, least = 255;
  for (let i = 0; i < data.length; i += 4) {
    ink += grey(i) * data[i + 3];
    opaque += data[i + 3];
    least = Math.min(least, data[i + 3]);
  }
  const paper = least < 255 && 2 * ink < 255 * opaque ? 255 : 0;
  let bright = 0, count = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const edges = (y === 0) + (y === height - 1) + (x === 0) + (x === width - 1);
      if (!edges) continue;
      const i = 4 * (y * width + x), opacity = data[i + 3] / 255;
      count += edges;
      if (grey(i) * opacity + paper * (1 - opacity) > 127.5) bright += edges;
    }
  }
  return 2 * bright > count;
}

/** Whether a picture (ImageData) has another ink than a network was trained on. */
function isDoubtful(image, { ink }) {
  return (ink === "bright" || ink === "dark") && looksDark(image) !== (ink === "dark");
}

/** Turn a picture (ImageData) into a network's input: (height, width, channels) in [0, 1]. */
function prepare(image, { height, width, channels, fit, ink, rounded }) {
  const dark = ink === "auto" ? looksDark(image) : ink === "dark";
  const inverted = dark && channels === 1;
  const paper = ink === "mixed" ? PAPER.mixed : dark ? PAPER.dark : PAPER.bright;
  const planes = planesOf(image, channels, paper, inverted);
  const around = inverted ? 255 - paper : paper, out = new Float32Array(height * width * channels);
  const place = fitted(image, height, width, fit);
  planes.forEach((data, channel) => {
    const plane = { data: data.map((v) => v - around), width: image.width, height: image.height };
    areaMeans(plane, place, width, height).forEach((mean, i) => {
      const level = rounded ? Math.round(mean + around) : mean + around;
      out[i * channels + channel] = Math.min(1, Math.max(0, level / 255));
    });
  });
  return out;
}

/** Levels of 0 to 255 of each channel, laid over paper. */
function planesOf({ data, width, height }, channels, paper, inverted) {
  const planes = Array.from({ length: channels }, () => new Float64Array(width * height));
  for (let i = 0; i < width * height; i++) {
    const opacity = data[4 * i + 3] / 255;
    const [red, green, blue] = [0, 1, 2].map(
      (channel) => data[4 * i + channel] * opacity + paper * (1 - opacity));
    const levels = channels === 3
      ? [red, green, blue] : [(299 * red + 587 * green + 114 * blue) / 1000];
    levels.forEach((level, channel) => { planes[channel][i] = inverted ? 255 - level : level; });
  }
  return planes;
}

/** The window of a picture that becomes the input: padded, cropped or stretched to its shape. */
function fitted(image, height, width, fit) {
  if (fit === "stretch") return { x: 0, y: 0, wide: image.width, high: image.height };
  const scales = [image.height * width, image.width * height], part = (n, of) => Math.floor(n / of);
  const [high, wide] = fit === "crop"
    ? [width, height].map((n) => Math.max(1, part(Math.min(...scales), n)))
    : [width, height].map((n) => Math.ceil(Math.max(...scales) / n));
  const start = (whole, size) => (fit === "crop" ? part(whole - size, 2) : -part(size - whole, 2));
  return { x: start(image.width, wide), y: start(image.height, high), wide, high };
}

const MNIST = { side: 28, box: 20 }; // pixels of an image, and what its digit fills
const SCREEN = 280; // pixels a side on which strokes are drawn before they are made small
const ROUND = { lineCap: "round", lineJoin: "round" };
const PEN = 0.11; // its width, of the digit's longer side: as thick as MNIST's strokes

/** Draw strokes, lists of [x, y], white on black so that the digit's longer side is MNIST's box. */
function strokesDrawn(strokes) {
  const points = strokes.flat(), canvas = blank(SCREEN, SCREEN), pen = canvas.getContext("2d");
  const [left, top, right, bottom] = [0, 1].flatMap((i) => Math.min(...points.map((p) => p[i])))
    .concat([0, 1].map((i) => Math.max(...points.map((p) => p[i]))));
  const box = (SCREEN * MNIST.box) / MNIST.side, width = PEN * box;
  const scale = (box - width) / Math.max(right - left, bottom - top, 1);
  const put = ([x, y]) => [(x - (left + right) / 2) * scale + SCREEN / 2,
    (y - (top + bottom) / 2) * scale + SCREEN / 2];
  Object.assign(pen, { lineWidth: width, strokeStyle: "#fff", ...ROUND });
  for (const stroke of strokes) {
    pen.beginPath();
    pen.moveTo(...put(stroke[0]));
    stroke.forEach((point) => pen.lineTo(...put(point)));
    pen.stroke();
  }
  return canvas;
}

/** Scale what is bright on a canvas into MNIST's box, and put its centre of mass in the middle. */
function digitOf(canvas) {
  const { width, height } = canvas;
  const rgba = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const data = Float64Array.from({ length: width * height }, (_, i) => rgba[4 * i]);
  let mass = 0, x = 0, y = 0, left = width, right = 0, top = height, bottom = 0;
  data.forEach((level, i) => {
    const column = i % width, row = Math.floor(i / width);
    mass += level;
    x += level * (column + 0.5);
    y += level * (row + 0.5);
    if (level > 25) {
      [left, right] = [Math.min(left, column), Math.max(right, column + 1)];
      [top, bottom] = [Math.min(top, row), Math.max(bottom, row + 1)];
    }
  });
  const small = blank(MNIST.side, MNIST.side);
  if (!mass) return small;
  const side = (Math.max(right - left, bottom - top, 1) * MNIST.side) / MNIST.box;
  const place = { x: x / mass - side / 2, y: y / mass - side / 2, wide: side, high: side };
  return painted(areaMeans({ data, width, height }, place, MNIST.side, MNIST.side), small);
}

/** A black canvas. */
function blank(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillRect(0, 0, width, height);
  return canvas;
}

/** Paint levels of 0 to 255, of one channel or three, onto a canvas. */
function painted(levels, canvas) {
  const pen = canvas.getContext("2d"), image = pen.createImageData(canvas.width, canvas.height);
  const channels = levels.length / (canvas.width * canvas.height);
  for (let i = 0; i < image.data.length / 4; i++) {
    for (let channel = 0; channel < 3; channel++) {
      const from = i * channels + (channels === 3 ? channel : 0);
      image.data[4 * i + channel] = Math.round(levels[from]);
    }
    image.data[4 * i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

// ---- How a file's picture is turned: by its EXIF, as Pillow does ------------------------------
// Browsers follow the EXIF of some formats, so that it is taken out before they decode.

const ascii = (bytes, start, size) => String.fromCharCode(...bytes.subarray(start, start + size));

/** Find {start, end, whole} of a file's EXIF; whole is where its PNG chunk begins and ends. */
function exifOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint16(0) === 0xffd8) { // JPEG: segments up to the scan
    for (let at = 2; at + 4 < bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
      const end = at + 2 + view.getUint16(at + 2);
      if (bytes[at + 1] === 0xe1 && ascii(bytes, at + 4, 4) === "Exif") {
        return { start: at + 10, end };
      }
      at = end;
    }
  } else if (ascii(bytes, 1, 3) === "PNG") {
    for (let at = 8; at + 12 <= bytes.length;) {
      const end = at + 12 + view.getUint32(at);
      if (ascii(bytes, at + 4, 4) === "eXIf") {
        return { start: at + 8, end: end - 4, whole: [at, end] };
      }
      at = end;
    }
  } else if (ascii(bytes, 0, 4) === "RIFF" && ascii(bytes, 8, 4) === "WEBP") {
    for (let at = 12; at + 8 <= bytes.length;) {
      const size = view.getUint32(at + 4, true), start = at + 8;
      if (ascii(bytes, at, 4) === "EXIF") {
        return { start: start + (ascii(bytes, start, 4) === "Exif" ? 6 : 0), end: start + size };
      }
      at = start + size + (size % 2);
    }
  }
  return null;
}

/** Take the orientation, 1 to 8, out of an image file: {bytes, turn}. */
function unturned(bytes) {
  try {
    const exif = exifOf(bytes);
    if (!exif) return { bytes, turn: 1 };
    const view = new DataView(bytes.buffer, bytes.byteOffset + exif.start, exif.end - exif.start);
    const little = view.getUint16(0) === 0x4949, first = view.getUint32(4, little);
    for (let i = 0; i < view.getUint16(first, little); i++) {
      const entry = first + 2 + 12 * i;
      if (view.getUint16(entry, little) !== 0x112) continue;
      const turn = view.getUint16(entry + 8, little);
      if (exif.whole) { // a changed PNG chunk would need another checksum
        const [from, to] = exif.whole, parts = [bytes.subarray(0, from), bytes.subarray(to)];
        const rest = new Uint8Array(bytes.length - (to - from));
        parts.forEach((part, n) => rest.set(part, n && from));
        return { bytes: rest, turn };
      }
      const copy = bytes.slice();
      new DataView(copy.buffer, exif.start).setUint16(entry + 8, 1, little);
      return { bytes: copy, turn };
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // EXIF that ends early turns nothing
  }
  return { bytes, turn: 1 };
}

/** Draw a bitmap onto a canvas of its own, turned as an EXIF orientation says. */
function turned(bitmap, turn) {
  const { width: w, height: h } = bitmap;
  const [width, height] = turn > 4 && turn < 9 ? [h, w] : [w, h];
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const turns = {
    2: [-1, 0, 0, 1, w, 0], 3: [-1, 0, 0, -1, w, h], 4: [1, 0, 0, -1, 0, h], 5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, h, 0], 7: [0, -1, -1, 0, h, w], 8: [0, -1, 1, 0, 0, w],
  };
  pen.imageSmoothingEnabled = false;
  pen.setTransform(...(turns[turn] || [1, 0, 0, 1, 0, 0]));
  pen.drawImage(bitmap, 0, 0);
  return canvas;
}
