// The self-test that travels in the artifact: the answers here against those at its export.

/** The largest index of `values`, or -1 where none is above `floor`. */
function best(values, floor) {
  const better = (at, value, index) => (value > (at < 0 ? floor : values[at]) ? index : at);
  return values.reduce(better, -1);
}

/** Intersection over union of the boxes `a` and `b`, x1 y1 x2 y2. */
export function boxIou(a, b) {
  const area = (box) => Math.max(box[2] - box[0], 0) * Math.max(box[3] - box[1], 0);
  const overlap = area([
    Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3]),
  ]);
  return overlap / (area(a) + area(b) - overlap || 1);
}

/** The largest absolute difference between two arrays of one length. */
export function largestDifference(a, b) {
  let largest = 0;
  for (let index = 0; index < a.length; index++) {
    const difference = Math.abs(a[index] - b[index]);
    if (!(difference <= largest)) largest = difference; // NaN counts as large
  }
  return largest;
}

/**
 * Compare the detections of an image with the expected ones.
 *
 * Each is paired with that of its label whose box overlaps the most. One without a partner counts
 * only if its score is further from the artifact's threshold than rounding explains.
 *
 * @param {Array} expected detections, as `Segmenter.segment` returns them.
 * @param {Array} found likewise.
 * @param {{scores: number, boxes: number, roi_masks: number}} limits the largest differences.
 * @param {number} scoreThreshold the one that is built into the artifact.
 * @returns {{pairs: number, unpaired: number, scores: number, boxes: number, roi_masks: number,
 *   passed: boolean}} the number of pairs and of detections without a partner, the largest
 *   differences, and whether all of it is within the limits.
 */
export function compare(expected, found, limits, scoreThreshold) {
  const result = { pairs: 0, unpaired: 0, scores: 0, boxes: 0, roi_masks: 0 };
  const left = [...found];
  const alone = [];
  for (const one of expected) {
    const overlap = (other) => (other.label === one.label ? boxIou(one.box, other.box) : 0);
    const index = best(left.map(overlap), 0.5);
    if (index < 0) {
      alone.push(one);
      continue;
    }
    const [other] = left.splice(index, 1);
    result.pairs += 1;
    result.scores = Math.max(result.scores, largestDifference([one.score], [other.score]));
    result.boxes = Math.max(result.boxes, largestDifference(one.box, other.box));
    result.roi_masks = Math.max(result.roi_masks, largestDifference(one.soft, other.soft));
  }
  const isClear = (detection) => detection.score - scoreThreshold > limits.scores;
  result.unpaired = [...alone, ...left].filter(isClear).length;
  const within = ["scores", "boxes", "roi_masks"].every((field) => result[field] <= limits[field]);
  return { ...result, passed: within && result.unpaired === 0 };
}
