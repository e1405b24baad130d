"use strict";
// The forward pass of an exported network: the operators of ONNX that kpairs' exports contain, as
// plainly as they can be written. A tensor is {dims, data}; all numbers are kept in 32 bits, sums
// are made in 64.

const sizeOf = (dims) => dims.reduce((product, size) => product * size, 1);
const tensor = (dims, data = new Float32Array(sizeOf(dims))) => ({ dims, data });
const axisOf = (axis, dims) => (axis < 0 ? axis + dims.length : axis);

/** Apply f to each number of one to three tensors, of which short axes are repeated. */
function each(f, a, b, c) {
  const given = [a, b, c].filter(Boolean);
  if (given.length === 1) return tensor(a.dims, a.data.map((x) => f(x)));
  const rank = Math.max(...given.map((t) => t.dims.length));
  const shapes = given.map((t) => [...Array(rank - t.dims.length).fill(1), ...t.dims]);
  const out = tensor(shapes[0].map((_, axis) => Math.max(...shapes.map((s) => s[axis]))));
  const steps = shapes.map((shape) =>
    shape.map((size, axis) => (size === 1 ? 0 : sizeOf(shape.slice(axis + 1)))));
  const place = Array(rank).fill(0), at = [0, 0, 0];
  for (let i = 0; i < out.data.length; i++) {
    out.data[i] = f(a.data[at[0]], b.data[at[1]], c ? c.data[at[2]] : 0);
    for (let axis = rank - 1; axis >= 0; axis--) {
      steps.forEach((step, n) => { at[n] += step[axis]; });
      if (++place[axis] < out.dims[axis]) break;
      steps.forEach((step, n) => { at[n] -= step[axis] * out.dims[axis]; });
      place[axis] = 0;
    }
  }
  return out;
}

/** Slide a window over images (n, channels, height, width): size of the result and its start. */
function slide([height, width], kernel, { strides = [1, 1], pads = [0, 0, 0, 0] }) {
  const long = (size, n) => Math.floor((size + pads[n] + pads[n + 2] - kernel[n]) / strides[n]) + 1;
  return { rows: long(height, 0), columns: long(width, 1), strides, top: pads[0], left: pads[1] };
}

function convolve([x, kernel, bias], attributes) {
  const [images, channels, height, width] = x.dims, [filters, , high, wide] = kernel.dims;
  const { rows, columns, strides, top, left } = slide([height, width], [high, wide], attributes);
  const out = tensor([images, filters, rows, columns]), size = rows * columns;
  const sums = new Float64Array(size), [down, right] = strides;
  for (let plane = 0; plane < images * filters; plane++) {
    const filter = plane % filters, image = (plane - filter) / filters;
    sums.fill(bias ? bias.data[filter] : 0);
    let weight = filter * channels * high * wide;
    for (let channel = 0; channel < channels; channel++) {
      const base = (image * channels + channel) * height * width;
      for (let dy = -top; dy < high - top; dy++) {
        for (let dx = -left; dx < wide - left; dx++) {
          const w = kernel.data[weight++];
          const end = Math.min(columns, Math.ceil((width - dx) / right));
          for (let row = 0; row < rows; row++) {
            const y = row * down + dy;
            if (y < 0 || y >= height) continue;
            const line = base + y * width + dx, target = row * columns;
            for (let column = Math.max(0, Math.ceil(-dx / right)); column < end; column++) {
              sums[target + column] += w * x.data[line + column * right];
            }
          }
        }
      }
    }
    out.data.set(sums, plane * size);
  }
  return out;
}

function pool([x], attributes) {
  const [images, channels, height, width] = x.dims, [high, wide] = attributes.kernel_shape;
  const { rows, columns, strides, top, left } = slide([height, width], [high, wide], attributes);
  const out = tensor([images, channels, rows, columns]);
  for (let i = 0; i < out.data.length; i++) {
    const column = i % columns, row = Math.floor(i / columns) % rows;
    const base = Math.floor(i / (rows * columns)) * height * width;
    let most = -Infinity;
    for (let dy = 0; dy < high; dy++) {
      for (let dx = 0; dx < wide; dx++) {
        const y = row * strides[0] + dy - top, z = column * strides[1] + dx - left;
        if (y >= 0 && y < height && z >= 0 && z < width) {
          most = Math.max(most, x.data[base + y * width + z]);
        }
      }
    }
    out.data[i] = most;
  }
  return out;
}

function multiply([a, b]) {
  const [inner, columns] = b.dims, rows = a.data.length / inner;
  const out = tensor([...a.dims.slice(0, -1), columns]), sums = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    sums.fill(0);
    for (let k = 0; k < inner; k++) {
      const factor = a.data[row * inner + k];
      if (factor) for (let n = 0; n < columns; n++) sums[n] += factor * b.data[k * columns + n];
    }
    out.data.set(sums, row * columns);
  }
  return out;
}

function normalize([x, scale, offset, means, variances], { epsilon = 1e-5 }) {
  const area = sizeOf(x.dims.slice(2)), channels = x.dims[1];
  return tensor(x.dims, x.data.map((value, i) => {
    const c = Math.floor(i / area) % channels;
    const factor = scale.data[c] / Math.sqrt(variances.data[c] + epsilon);
    return (value - means.data[c]) * factor + offset.data[c];
  }));
}

function transpose([x], { perm }) {
  const out = tensor(perm.map((axis) => x.dims[axis]));
  const steps = perm.map((axis) => sizeOf(x.dims.slice(axis + 1)));
  const place = Array(perm.length).fill(0);
  for (let i = 0; i < out.data.length; i++) {
    out.data[i] = x.data[place.reduce((sum, n, axis) => sum + n * steps[axis], 0)];
    for (let axis = perm.length - 1; ++place[axis] === out.dims[axis]; axis--) place[axis] = 0;
  }
  return out;
}

function concatenate(parts, { axis }) {
  const along = axisOf(axis, parts[0].dims), dims = [...parts[0].dims];
  dims[along] = parts.reduce((sum, part) => sum + part.dims[along], 0);
  const out = tensor(dims), row = sizeOf(dims.slice(along));
  let start = 0;
  for (const part of parts) {
    const piece = sizeOf(part.dims.slice(along));
    for (let i = 0; i * row < out.data.length; i++) {
      out.data.set(part.data.subarray(i * piece, (i + 1) * piece), i * row + start);
    }
    start += piece;
  }
  return out;
}

function gather([x, indices], { axis = 0 }) {
  const along = axisOf(axis, x.dims), step = sizeOf(x.dims.slice(along + 1));
  const out = tensor([...x.dims.slice(0, along), ...indices.dims, ...x.dims.slice(along + 1)]);
  const outer = sizeOf(x.dims.slice(0, along));
  let target = 0;
  for (let i = 0; i < outer; i++) {
    for (const index of indices.data) {
      const start = (i * x.dims[along] + axisOf(index, { length: x.dims[along] })) * step;
      out.data.set(x.data.subarray(start, start + step), target);
      target += step;
    }
  }
  return out;
}

function reshape([x, sizes], { allowzero = 0 }) {
  const dims = Array.from(sizes.data, (n, axis) => (n === 0 && !allowzero ? x.dims[axis] : n));
  const known = dims.reduce((product, n) => (n === -1 ? product : product * n), 1);
  return tensor(dims.map((n) => (n === -1 ? x.data.length / known : n)), x.data);
}

function unsqueeze([x, axes]) {
  const rank = x.dims.length + axes.data.length, dims = [...x.dims];
  const places = Array.from(axes.data, (axis) => (axis < 0 ? axis + rank : axis));
  for (const axis of places.sort((a, b) => a - b)) dims.splice(axis, 0, 1);
  return tensor(dims, x.data);
}

function pad([x, amounts, value]) {
  const rank = x.dims.length, before = amounts.data.slice(0, rank);
  const after = amounts.data.slice(rank);
  const out = tensor(x.dims.map((size, axis) => before[axis] + size + after[axis]));
  if (value) out.data.fill(value.data[0]);
  const place = Array(rank).fill(0);
  for (let i = 0; i < x.data.length; i++) {
    let target = 0;
    for (let axis = 0; axis < rank; axis++) {
      target = target * out.dims[axis] + place[axis] + before[axis];
    }
    out.data[target] = x.data[i];
    for (let axis = rank - 1; axis >= 0 && ++place[axis] === x.dims[axis]; axis--) place[axis] = 0;
  }
  return out;
}

/** log(sum(exp(x))), which stays finite where exp(x) would not. */
function logSumExp(values) {
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (most === -Infinity) return most;
  return most + Math.log(values.reduce((sum, x) => sum + Math.exp(x - most), 0));
}

/** Apply f(x, log of the sum of exponentials) along the last axis. */
function alongLast(x, f) {
  const long = x.dims[x.dims.length - 1], out = tensor(x.dims);
  for (let i = 0; i < x.data.length; i += long) {
    const row = x.data.subarray(i, i + long), total = logSumExp(row);
    out.data.set(row.map((value) => f(value, total)), i);
  }
  return out;
}

/** One number, f of all numbers along some axes. */
function reduce(f, [x, axes], { keepdims = 1 }) {
  const gone = new Set(Array.from(axes.data, (axis) => axisOf(axis, x.dims)));
  const kept = x.dims.map((size, axis) => (gone.has(axis) ? 1 : size));
  const groups = Array.from({ length: sizeOf(kept) }, () => []);
  const place = Array(x.dims.length).fill(0);
  for (const value of x.data) {
    const group = place.reduce((sum, n, axis) => sum * kept[axis] + (gone.has(axis) ? 0 : n), 0);
    groups[group].push(value);
    for (let axis = place.length - 1; axis >= 0 && ++place[axis] === x.dims[axis]; axis--) {
      place[axis] = 0;
    }
  }
  const dims = keepdims ? kept : x.dims.filter((_, axis) => !gone.has(axis));
  return tensor(dims, Float32Array.from(groups, (group) => f(group)));
}

const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

// Klambauer et al., Self-Normalizing Neural Networks (2017).
const SELU = { alpha: 1.6732632423543772, scale: 1.0507009873554805 };
const selu = (x) => SELU.scale * (x > 0 ? x : SELU.alpha * Math.expm1(x));

function clip([x, least, most]) {
  const low = least ? least.data[0] : -Infinity, high = most ? most.data[0] : Infinity;
  return each((value) => Math.min(Math.max(value, low), high), x);
}

const OPERATORS = {
  Add: ([a, b]) => each((x, y) => x + y, a, b),
  BatchNormalization: normalize,
  Clip: clip,
  Concat: concatenate,
  Conv: convolve,
  Div: ([a, b]) => each((x, y) => x / y, a, b),
  Elu: ([a], { alpha = 1 }) => each((x) => (x > 0 ? x : alpha * Math.expm1(x)), a),
  Exp: ([a]) => each(Math.exp, a),
  Gather: gather,
  LogSoftmax: ([a]) => alongLast(a, (x, total) => x - total),
  MatMul: multiply,
  MaxPool: pool,
  Mul: ([a, b]) => each((x, y) => x * y, a, b),
  Pad: pad,
  ReduceLogSumExp: (inputs, attributes) => reduce(logSumExp, inputs, attributes),
  ReduceMean: (inputs, attributes) => reduce(mean, inputs, attributes),
  Relu: ([a]) => each((x) => Math.max(x, 0), a),
  Reshape: reshape,
  Selu: ([a]) => each(selu, a),
  Sigmoid: ([a]) => each((x) => 1 / (1 + Math.exp(-x)), a),
  Softmax: ([a]) => alongLast(a, (x, total) => Math.exp(x - total)),
  Sub: ([a, b]) => each((x, y) => x - y, a, b),
  Tanh: ([a]) => each(Math.tanh, a),
  Transpose: transpose,
  Unsqueeze: unsqueeze,
  Where: ([where, a, b]) => each((holds, x, y) => (holds ? x : y), where, a, b),
};

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/**
 * Make the function that a graph describes: from two images, (height, width, channels) numbers in
 * [0, 1] each, to {output's name: its numbers}.
 *
 * graph: {shape, outputs, nodes: [{op, inputs, outputs, attributes}], constants: {name: {dims,
 * values or offset}}, weights: base64 of all 32-bit floats}.
 */
function networkOf(graph) {
  const weights = new Float32Array(bytesOf(graph.weights).buffer), constants = {};
  for (const [name, { dims, values, offset }] of Object.entries(graph.constants)) {
    constants[name] = tensor(dims, values || weights.subarray(offset, offset + sizeOf(dims)));
  }
  return (left, right) => {
    const held = { ...constants };
    held.left = tensor([1, ...graph.shape], Float32Array.from(left));
    held.right = tensor([1, ...graph.shape], Float32Array.from(right));
    for (const { op, inputs, outputs, attributes } of graph.nodes) {
      held[outputs[0]] = OPERATORS[op](inputs.map((name) => held[name]), attributes);
    }
    return Object.fromEntries(graph.outputs.map((name) => [name, Array.from(held[name].data)]));
  };
}
