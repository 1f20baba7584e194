// Soft masks in the frame of their box -> pixels of the image, as pedseg_runtime/masks.py does it
// and by torchvision's rule: the same roundings to float32 in the same order, so the same pixels.

const PADDING = 1;
// torch resizes an output of height + width up to this with a kernel of its own.
const SMALL_OUTPUT = 128;
const f32 = Math.fround;

/**
 * Resize one soft mask to its box and threshold it.
 *
 * @param {Float32Array} soft [size * size], in 0..1, in the frame of the box, row by row.
 * @param {number} size rows and columns of the soft mask.
 * @param {ArrayLike<number>} box float32 x1 y1 x2 y2 in pixels; it may reach beyond the image.
 * @param {{height: number, width: number}} image the size of the image.
 * @param {number} threshold pixels of at least this value belong to the mask.
 * @returns {{top: number, left: number, height: number, width: number, bits: Uint8Array}}
 *   the part of the mask on the image: bits [height * width], 1 on the instance; of height and
 *   width 0 if the box lies outside.
 */
export function pasteMask(soft, size, box, image, threshold = 0.5) {
  const [x1, y1, x2, y2] = integerBox(box, size);
  const left = Math.max(x1, 0);
  const right = Math.min(x2 + 1, image.width);
  const top = Math.max(y1, 0);
  const bottom = Math.min(y2 + 1, image.height);
  if (left >= right || top >= bottom) {
    return { top: 0, left: 0, height: 0, width: 0, bits: new Uint8Array(0) };
  }
  const mask = padded(soft, size);
  const cells = size + 2 * PADDING;
  const rows = taps(top - y1, bottom - y1, cells, y2 - y1 + 1);
  const columns = taps(left - x1, right - x1, cells, x2 - x1 + 1);
  const isSmall = y2 - y1 + 1 + (x2 - x1 + 1) <= SMALL_OUTPUT;
  const resize = isSmall ? thresholdSmallResize : thresholdLargeResize;
  const bits = resize(mask, cells, rows, columns, f32(threshold));
  return { top, left, height: bottom - top, width: right - left, bits };
}

/** The soft mask with a border of zeros. */
function padded(soft, size) {
  const cells = size + 2 * PADDING;
  const mask = new Float32Array(cells * cells);
  for (let row = 0; row < size; row++) {
    mask.set(soft.subarray(row * size, (row + 1) * size), (row + PADDING) * cells + PADDING);
  }
  return mask;
}

/** The box grown with the mask's border and truncated towards zero. */
function integerBox(box, size) {
  const grown = f32((size + 2 * PADDING) / size);
  const sides = [0, 1].map((axis) => {
    const half = f32(f32(f32(box[axis + 2] - box[axis]) * 0.5) * grown);
    const centre = f32(f32(box[axis + 2] + box[axis]) * 0.5);
    return [Math.trunc(f32(centre - half)), Math.trunc(f32(centre + half))];
  });
  return [sides[0][0], sides[1][0], sides[0][1], sides[1][1]];
}

/**
 * For the pixels from `start` to before `end` of `size` along one axis: their two source cells of
 * `count`, and the weights of these (align_corners=False).
 */
function taps(start, end, count, size) {
  const length = end - start;
  const scale = f32(f32(count) / f32(size));
  const lower = new Int32Array(length);
  const upper = new Int32Array(length);
  const near = new Float32Array(length);
  const far = new Float32Array(length);
  for (let index = 0; index < length; index++) {
    const source = Math.max(fused(f32(start + index + 0.5), scale, -0.5), 0);
    lower[index] = Math.min(Math.trunc(source), count - 1);
    upper[index] = Math.min(lower[index] + 1, count - 1);
    far[index] = source - lower[index];
    near[index] = 1 - far[index];
  }
  return { length, lower, upper, near, far };
}

// torch's CPU code has two kernels for bilinear values, which round differently; each function
// follows the order of operations of one.

/** Small outputs: the kernel weighs the four neighbours of a pixel at once. */
function thresholdSmallResize(mask, cells, rows, columns, threshold) {
  const bits = new Uint8Array(rows.length * columns.length);
  let pixel = 0;
  for (let row = 0; row < rows.length; row++) {
    const above = rows.lower[row] * cells;
    const below = rows.upper[row] * cells;
    const near = rows.near[row];
    const far = rows.far[row];
    for (let column = 0; column < columns.length; column++) {
      const lower = columns.lower[column];
      const upper = columns.upper[column];
      let value = f32(mask[above + upper] * f32(near * columns.far[column]));
      value = fused(mask[above + lower], f32(near * columns.near[column]), value);
      value = fused(mask[below + lower], f32(far * columns.near[column]), value);
      value = fused(mask[below + upper], f32(far * columns.far[column]), value);
      bits[pixel++] = value >= threshold ? 1 : 0;
    }
  }
  return bits;
}

/** Large outputs: the kernel goes along the row first, then down the column. */
function thresholdLargeResize(mask, cells, rows, columns, threshold) {
  const width = columns.length;
  const across = new Float32Array(cells * width);
  for (let row = 0; row < cells; row++) {
    for (let column = 0; column < width; column++) {
      const right = f32(mask[row * cells + columns.upper[column]] * columns.far[column]);
      const left = mask[row * cells + columns.lower[column]];
      across[row * width + column] = fused(left, columns.near[column], right);
    }
  }
  const bits = new Uint8Array(rows.length * width);
  let pixel = 0;
  for (let row = 0; row < rows.length; row++) {
    const above = rows.lower[row] * width;
    const below = rows.upper[row] * width;
    for (let column = 0; column < width; column++) {
      const lower = f32(across[below + column] * rows.far[row]);
      const value = fused(across[above + column], rows.near[row], lower);
      bits[pixel++] = value >= threshold ? 1 : 0;
    }
  }
  return bits;
}

/** a * b + c, rounded to float32 at the end: the product of two float32 is exact in a double. */
function fused(a, b, c) {
  return f32(a * b + c);
}
