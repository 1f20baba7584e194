// Runs the artifact in onnxruntime-web, off the page's own thread.

let ort = null;
let session = null;

self.onmessage = async ({ data: { id, kind, ...request } }) => {
  try {
    const answer = kind === "load" ? await load(request, id) : await run(request);
    self.postMessage({ id, answer });
  } catch (error) {
    self.postMessage({ id, error: error?.message ?? String(error) });
  }
};

/** Fetch the artifact and make a session of it. */
async function load({ folder, artifact, digest, backend, threads }, id) {
  const library = new URL("onnxruntime/", folder).href;
  ort = await import(`${library}ort.${backend}.min.mjs`);
  ort.env.wasm.wasmPaths = library;
  // Without cross-origin isolation there is no memory that threads could share.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;
  ort.env.logLevel = "error";
  const progress = (received, total) => self.postMessage({ id, progress: { received, total } });
  const content = await download(new URL(`${artifact}?${digest}`, folder), progress);
  await verify(content, digest);
  session = await ort.InferenceSession.create(content, { executionProviders: [backend] });
  return { backend, threads: ort.env.wasm.numThreads };
}

/** Segment one image: RGBA pixels in, the artifact's outputs by name out. */
async function run({ pixels, width, height }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4) {
    rgb[to++] = pixels[from];
    rgb[to++] = pixels[from + 1];
    rgb[to++] = pixels[from + 2];
  }
  const images = new ort.Tensor("uint8", rgb, [1, height, width, 3]);
  const start = performance.now();
  const results = await session.run({ images });
  const outputs = {};
  for (const [name, tensor] of Object.entries(results)) {
    outputs[name] = (await tensor.getData()).slice();
    tensor.dispose();
  }
  return { outputs, milliseconds: performance.now() - start };
}

/** The bytes behind an address, with their number reported as they come. */
async function download(address, progress) {
  const response = await fetch(address);
  if (!response.ok) {
    throw new Error(`${address.pathname}: expected the artifact, found ${response.status}`);
  }
  const total = Number(response.headers.get("Content-Length")) || null;
  const parts = [];
  let received = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    received += part.value.length;
    progress(received, total);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Make sure that the artifact is what was exported: it ends with the SHA-256 of the rest. */
async function verify(content, digest) {
  if (!self.crypto?.subtle) return; // over plain http, other than from this machine
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content.subarray(0, -64)));
  const found = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== digest) {
    const [expected, other] = [digest, found].map((digits) => `${digits.slice(0, 12)}...`);
    throw new Error(`artifact: expected SHA-256 ${expected}, found ${other}; copy the folder anew`);
  }
}
