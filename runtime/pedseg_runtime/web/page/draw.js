// Draws detections as pedseg_runtime/draw.py does: translucent masks, outlines, boxes, captions.

const FILL_OPACITY = 0.45;
// Bright on dark streets and on light ones; each differs from its neighbours in hue.
const PALETTE = [
  [255, 140, 46], [38, 194, 255], [150, 230, 54], [255, 82, 168], [255, 216, 54], [142, 132, 255],
  [38, 224, 170], [255, 98, 84], [108, 178, 255], [214, 190, 110], [222, 122, 255], [120, 220, 220],
];

/**
 * Draw `image` with `detections` on it, the first on top.
 *
 * @param {HTMLCanvasElement} canvas gets the size of the image.
 * @param {ImageData} image
 * @param {Array} detections of `Segmenter.segment`.
 */
export function drawDetections(canvas, image, detections) {
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d");
  const scale = Math.hypot(image.width, image.height);
  const stroke = Math.max(1, Math.round(scale / 500));
  const painted = new ImageData(new Uint8ClampedArray(image.data), image.width, image.height);
  const order = detections.map((one, index) => [one, PALETTE[index % PALETTE.length]]).reverse();
  for (const [detection, color] of order) paintMask(painted, detection.mask(), color, stroke);
  context.putImageData(painted, 0, 0);
  context.lineWidth = Math.max(1, stroke / 2);
  const size = Math.min(Math.max(Math.round(6 + scale / 100), 10), 40);
  context.font = `${size}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const [detection, color] of order) drawBox(context, detection, color);
}

/** Blend a mask into the pixels, with its outline in full color. */
function paintMask(painted, { top, left, height, width, bits }, color, stroke) {
  const isOn = (row, column) =>
    row >= 0 && row < height && column >= 0 && column < width && bits[row * width + column] === 1;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!bits[row * width + column]) continue;
      const isInside =
        isOn(row - stroke, column) && isOn(row + stroke, column) &&
        isOn(row, column - stroke) && isOn(row, column + stroke);
      const opacity = isInside ? FILL_OPACITY : 1;
      const at = 4 * ((row + top) * painted.width + column + left);
      for (let channel = 0; channel < 3; channel++) {
        painted.data[at + channel] =
          painted.data[at + channel] * (1 - opacity) + color[channel] * opacity;
      }
    }
  }
}

/** Draw a box, and above it the class and the score. */
function drawBox(context, { box, name, score }, color) {
  const [x1, y1, x2, y2] = box;
  const paint = `rgb(${color})`;
  context.strokeStyle = paint;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  const caption = `${name} ${score.toFixed(2)}`;
  const measured = context.measureText(caption);
  const height = measured.fontBoundingBoxAscent + measured.fontBoundingBoxDescent;
  const width = measured.width + 6;
  const x = Math.max(0, Math.min(x1, context.canvas.width - width));
  const y = y1 - height < 0 ? y1 : y1 - height;
  context.fillStyle = paint;
  context.fillRect(x, y, width, height);
  context.fillStyle = luminance(color) > 130 ? "#000" : "#fff";
  context.fillText(caption, x + 3, y + 1);
}

/** How bright a color looks, 0..255 (ITU-R BT.601). */
function luminance([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue;
}
