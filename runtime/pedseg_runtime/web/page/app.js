// The page: loads the artifact, takes an image, a video or the camera, and shows what is found.

import { drawDetections } from "./draw.js";
import { Segmenter, readPixels } from "./segmenter.js";

// Larger images are scaled down first: a phone has little memory.
const MOST_PIXELS = 4_000_000;
const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const video = element("video");

let segmenter = null;
let shown = null; // the last image with its answer
let source = 0; // counts what was opened: an answer for an earlier source is not shown

/** Load the artifact; where WebGPU does not run it, WebAssembly does. */
async function start(backend) {
  element("backend").value = backend;
  stopSource();
  setReady(false);
  segmenter?.close();
  try {
    segmenter = await Segmenter.load({ backend, onProgress: showProgress });
  } catch (error) {
    if (backend === "wasm") {
      say(error.message, "bad");
      return;
    }
    await start("wasm");
    say(`WebGPU does not run this artifact here, WebAssembly does: ${error.message}`, "bad");
    return;
  }
  const { backends, manifest, threads } = segmenter;
  element("engine").hidden = backends.length === 1;
  const slider = element("threshold");
  slider.min = manifest.score_threshold;
  if (shown === null) slider.value = Math.max(0.5, manifest.score_threshold);
  const engine = backend === "webgpu" ? "WebGPU" :
    `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  element("artifact").textContent = `${manifest.architecture}, ${manifest.precision}, ` +
    `finds ${manifest.class_names.slice(1).join(", ")}; ${engine}`;
  element("self-test").textContent = segmenter.selfTest;
  say(self.crossOriginIsolated || backend === "webgpu" ? "" :
    "One thread only: the server does not isolate this page by COOP and COEP headers.");
  setReady(true);
  showThreshold();
  if (shown !== null) await segmentImage(shown.image);
}

function setReady(isReady) {
  document.body.classList.toggle("ready", isReady);
  for (const control of document.querySelectorAll("button, input")) control.disabled = !isReady;
  element("save").disabled = !isReady || shown === null;
}

function say(text, kind = "") {
  element("message").textContent = text;
  element("message").className = kind;
}

function showProgress(received, total) {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  say(`Loading the artifact: ${megabytes(received)}${total ? ` of ${megabytes(total)}` : ""} MB`);
}

/** Stop the video or the camera, if one runs; returns the number of the next source. */
function stopSource() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  document.body.classList.remove("moving");
  source += 1;
  return source;
}

async function openFile(file) {
  const current = stopSource();
  say("");
  try {
    if (file.type.startsWith("video/")) {
      video.src = URL.createObjectURL(file);
      await follow(current);
    } else {
      // As the runtime: EXIF's orientation counts, color profiles do not.
      const options = { colorSpaceConversion: "none" };
      const bitmap = await createImageBitmap(file, options).catch(refuse);
      await segmentImage(fitted(bitmap, bitmap.width, bitmap.height), current);
    }
  } catch (error) {
    if (current === source) say(`${file.name}: ${error.message}`, "bad");
  }
}

function refuse(error) {
  const found = `found one that it does not (${error.message})`;
  throw new Error(`expected an image or a video that this browser reads, ${found}`);
}

async function openCamera() {
  const current = stopSource();
  say("");
  try {
    if (!navigator.mediaDevices) throw new Error("it needs https, or a page of this device");
    const wanted = { facingMode: "environment", width: { ideal: 640 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
    if (current !== source) {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    video.srcObject = stream;
    await follow(current);
  } catch (error) {
    if (current === source) say(`camera: ${error.message}`, "bad");
  }
}

/** Segment the newest frame of the video again and again; those that come meanwhile are dropped. */
async function follow(current) {
  await video.play().catch(refuse);
  document.body.classList.add("moving");
  while (current === source && !video.ended) {
    if (video.paused && shown?.time === video.currentTime) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      continue;
    }
    const time = video.currentTime;
    await segmentImage(fitted(video, video.videoWidth, video.videoHeight), current, time);
  }
  if (current === source) document.body.classList.remove("moving");
}

/** The pixels of an image or a frame, scaled down if there are too many. */
function fitted(drawable, width, height) {
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  if (scale === 1) return readPixels(drawable, width, height);
  const size = [Math.round(width * scale), Math.round(height * scale)];
  say(`${width}x${height} was scaled down to ${size[0]}x${size[1]}`);
  return readPixels(drawable, ...size);
}

async function segmentImage(image, current = source, time = null) {
  document.body.classList.add("busy");
  const answer = await segmenter.segment(image).finally(() => {
    document.body.classList.remove("busy");
  });
  if (current !== source) return;
  shown = { image, answer, time };
  show();
}

/** Draw what scores above the slider; the artifact does not run again. */
function show() {
  showThreshold();
  if (shown === null) return;
  const { image, answer } = shown;
  const threshold = Number(element("threshold").value);
  const found = answer.detections.filter(({ score }) => score > threshold);
  drawDetections(canvas, image, found);
  document.body.classList.add("shown");
  element("save").disabled = false;
  const counts = new Map();
  for (const { name } of found) counts.set(name, (counts.get(name) ?? 0) + 1);
  const names = [...counts].map(([name, count]) => `${count} × ${name}`).join(", ");
  element("found").textContent = `${names || "nothing found"} · ${image.width}x${image.height} · ` +
    `${answer.milliseconds.toFixed(0)} ms`;
}

function showThreshold() {
  element("threshold-value").textContent = Number(element("threshold").value).toFixed(2);
}

function save() {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "pedseg.png";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

element("choose").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", ({ target }) => {
  if (target.files.length > 0) openFile(target.files[0]);
  target.value = ""; // the same file may be chosen again
});
element("camera").addEventListener("click", openCamera);
element("pause").addEventListener("click", () => (video.paused ? video.play() : video.pause()));
element("stop").addEventListener("click", stopSource);
element("save").addEventListener("click", save);
element("threshold").addEventListener("input", show);
element("backend").addEventListener("change", ({ target }) => start(target.value));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", () => document.body.classList.remove("dragging"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const [file] = event.dataTransfer.files;
  if (file && document.body.classList.contains("ready")) openFile(file);
});

await start(new URLSearchParams(location.search).get("backend") ?? "wasm");
