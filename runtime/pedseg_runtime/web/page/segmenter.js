// An artifact of pedseg in a web page:
//
//     import { Segmenter } from "./segmenter.js";
//     const segmenter = await Segmenter.load();
//     const { detections } = await segmenter.segment(context.getImageData(0, 0, width, height));
//
// The folder holds what pedseg-web wrote. Nothing leaves the page.

import { pasteMask } from "./masks.js";
import { compare } from "./self_test.js";

const MOST_THREADS = 4; // more gain little, and phones have few fast cores

export class Segmenter {
  #worker;
  #waiting = new Map();
  #count = 0;

  /**
   * Load the artifact and make sure that it computes here what it did at its export.
   *
   * @param {object} options
   * @param {string} options.folder address of the folder; that of this module by default.
   * @param {"wasm" | "webgpu"} options.backend what runs the artifact.
   * @param {number} options.threads of WebAssembly; one where the page is not isolated.
   * @param {(received: number, total: number | null) => void} options.onProgress called with the
   *   bytes of the artifact that have arrived.
   * @throws {Error} a file is missing or damaged, the backend does not run the artifact, or it
   *   answers otherwise than at its export.
   */
  static async load({ folder = ".", backend = "wasm", threads, onProgress } = {}) {
    const segmenter = new Segmenter(new URL(folder.replace(/\/?$/, "/"), import.meta.url));
    try {
      await segmenter.#load(backend, threads, onProgress);
      segmenter.selfTest = await segmenter.#replay();
    } catch (error) {
      segmenter.close();
      throw error;
    }
    return segmenter;
  }

  constructor(folder) {
    this.folder = folder;
    this.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#answer(data);
    this.#worker.onerror = (event) => this.#fail(event.message || "the worker did not start");
  }

  /**
   * Segment one image.
   *
   * @param {ImageData} image its pixels, upright; they are not resized.
   * @returns {Promise<{detections: Array, milliseconds: number, width: number, height: number}>}
   *   the best score first. Each has `box` (float32 x1 y1 x2 y2 in pixels), `label`, `name`,
   *   `score`, `soft` (float32, the soft mask in the frame of the box) and `mask(threshold = 0.5)`,
   *   its pixels, see `pasteMask`.
   */
  async segment(image) {
    const { width, height } = image;
    const { outputs, milliseconds } = await this.#ask("run", { pixels: image.data, width, height });
    const size = this.manifest.outputs[3].shape[1];
    const detections = Array.from(outputs.scores, (score, index) => {
      const box = outputs.boxes.slice(4 * index, 4 * index + 4);
      const soft = outputs.roi_masks.slice(size * size * index, size * size * (index + 1));
      return this.#detection(box, Number(outputs.labels[index]), score, soft, { width, height });
    });
    return { detections, milliseconds, width, height };
  }

  /** End the worker and free its memory. */
  close() {
    this.#worker.terminate();
    this.#fail("closed");
  }

  async #load(backend, threads, onProgress) {
    const address = new URL("pedseg.json", this.folder);
    const response = await fetch(address, { cache: "no-cache" });
    if (!response.ok) {
      const found = response.status;
      throw new Error(`${address.pathname}: expected what pedseg-web wrote, found ${found}`);
    }
    const { artifact, digest, ...facts } = await response.json();
    Object.assign(this, { digest, ...facts }); // manifest, backends, limits and samples
    const most = threads ?? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1);
    const request = { folder: this.folder.href, artifact, digest, backend, threads: most };
    Object.assign(this, await this.#ask("load", request, onProgress));
  }

  async #replay() {
    if (this.samples.length === 0) return "not in the artifact";
    for (const sample of this.samples) {
      const image = await decode(sample.image);
      const expected = sample.detections.map(({ box, label, score, soft }) =>
        this.#detection(box, label, score, Float32Array.from(soft, (step) => step / 65535), image));
      const { detections } = await this.segment(image);
      const result = compare(expected, detections, this.limits, this.manifest.score_threshold);
      if (!result.passed) {
        throw new Error(
          `self-test: expected the answers of the export on ${sample.name}, found others ` +
          `(${result.unpaired} without a partner; apart by ${result.scores.toPrecision(2)} in ` +
          `scores, ${result.boxes.toPrecision(2)} pixels in boxes, ` +
          `${result.roi_masks.toPrecision(2)} in masks); another browser may do better, and one ` +
          "that disguises the pixels of images for privacy cannot");
      }
    }
    return `passed on ${this.samples.length} ${this.samples.length === 1 ? "sample" : "samples"}`;
  }

  #detection(box, label, score, soft, image) {
    const size = Math.sqrt(soft.length);
    const mask = (threshold = 0.5) => pasteMask(soft, size, box, image, threshold);
    return { box, label, name: this.manifest.class_names[label], score, soft, mask };
  }

  #ask(kind, request, onProgress) {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, kind, ...request });
    });
  }

  #answer({ id, answer, error, progress }) {
    const { resolve, reject, onProgress } = this.#waiting.get(id);
    if (progress) {
      onProgress?.(progress.received, progress.total);
      return;
    }
    this.#waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(error));
  }

  #fail(message) {
    for (const { reject } of this.#waiting.values()) reject(new Error(message));
    this.#waiting.clear();
  }
}

/** The pixels of a PNG in base64. */
async function decode(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return readPixels(await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" }));
}

/** The pixels of anything that a canvas draws: an ImageBitmap, a video, ... */
export function readPixels(source, width = source.width, height = source.height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}
