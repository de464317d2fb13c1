// The page: pictures in, answers out. Nothing is loaded from elsewhere, nothing is stored.

const at = (id) => document.getElementById(id);
const models = new Map();
const OVERLOAD_TRIES = 4;

function headers(kind) {
  const sent = kind ? { "Content-Type": kind } : {};
  const key = new TextEncoder().encode(at("key").value); // a header takes bytes alone
  if (key.length) sent.Authorization = `Bearer ${String.fromCharCode(...key)}`;
  return sent;
}

const say = (text) => { at("status").textContent = text; };

async function problemOf(response) {
  try {
    return (await response.json()).detail;
  } catch {
    return `the server answered ${response.status}.`;
  }
}

async function loadModels() {
  const response = await fetch("v1/models", { headers: headers() });
  if (response.status === 401) {
    at("key-field").hidden = false;
    say("This server asks for an API key.");
    return;
  }
  if (!response.ok) return say(await problemOf(response));
  models.clear();
  at("model").replaceChildren();
  for (const model of await response.json()) {
    models.set(model.name, model);
    at("model").append(new Option(model.name, model.name));
  }
  at("choice").hidden = models.size < 2;
  say("");
  describe();
}

function describe() {
  const model = models.get(at("model").value);
  at("about").hidden = !model;
  if (!model) return;
  const facts = [["Name", model.name], ["Architecture", model.architecture],
    ["Input", `${model.image_size[1]} × ${model.image_size[0]} pixels`],
    ["Classes", String(model.classes)]];
  if (model.trained_on) facts.push(["Trained on", model.trained_on]);
  if (model.accuracy !== null) {
    const images = model.images.toLocaleString("en");
    const share = (100 * model.accuracy).toFixed(1);
    facts.push(["Accuracy", `${share} % on ${images} images that it was not trained on`]);
  }
  if (model.calibration_error !== null) {
    facts.push(["Calibration error", `${(100 * model.calibration_error).toFixed(1)} %`]);
  }
  at("facts").replaceChildren(...facts.flatMap(([name, value]) => {
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  }));
  at("labels").textContent = model.named
    ? model.labels.join(", ")
    : "They have no names: their numbers stand for them.";
  showWeights(model);
}

// Pictures of the weights; fetched, as an image's address cannot carry the key.
async function showWeights(model) {
  at("weights").hidden = true;
  const pictures = await Promise.all(Array.from({ length: model.weight_pictures }, async (_, block) => {
    const address = `v1/models/${encodeURIComponent(model.name)}/weights/${block}`;
    const response = await fetch(address, { headers: headers() }).catch(() => null);
    if (!response?.ok) return null;
    const image = new Image();
    image.src = URL.createObjectURL(await response.blob());
    image.alt = `Learned weights of block ${block + 1}`;
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    return image;
  }));
  const found = pictures.filter(Boolean);
  if (at("model").value !== model.name || !found.length) return;  // another one was chosen meanwhile
  at("blocks").replaceChildren(...found);
  at("weights").hidden = false;
}

// Posts a picture; where the server is overloaded, again after the time that it names.
async function post(verb, name, file) {
  for (let tries = 1; ; tries += 1) {
    const response = await fetch(`v1/models/${encodeURIComponent(name)}/${verb}`, {
      method: "POST", body: file, headers: headers(file.type || "application/octet-stream"),
    });
    if (response.status !== 503 || tries === OVERLOAD_TRIES) return response;
    say("The server is busy: trying again.");
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });
  }
}

function bar(found) {
  const item = document.createElement("li");
  const label = document.createElement("span");
  const share = document.createElement("span");
  const track = document.createElement("div");
  const fill = document.createElement("div");
  label.textContent = found.label;
  share.textContent = `${(100 * found.probability).toFixed(1)} %`;
  track.className = "track";
  fill.className = "fill";
  fill.style.width = `${100 * found.probability}%`;
  track.append(fill);
  item.append(label, share, track);
  return item;
}

async function ask(file) {
  const name = at("model").value;
  const card = at("answer").content.cloneNode(true).firstElementChild;
  const part = (selector) => card.querySelector(selector);
  const image = part("img");
  image.src = URL.createObjectURL(file);
  image.alt = `The picture ${file.name}`;
  image.addEventListener("error", () => { image.alt = `${file.name} cannot be shown`; });
  part("h2").textContent = file.name || "Pasted picture";
  at("answers").prepend(card);
  const fail = (text) => {
    part(".error").textContent = text;
    part(".error").hidden = false;
    say(text);
  };
  const begun = performance.now();
  try {
    const response = await post("predict", name, file);
    if (!response.ok) return fail(await problemOf(response));
    const { pictures: [picture], milliseconds } = await response.json();
    part(".bars").replaceChildren(...picture.classes.map(bar));
    const whole = Math.round(performance.now() - begun);
    part(".latency").textContent = `${Math.round(milliseconds)} ms on the server, ${whole} ms in all`;
    const [best] = picture.classes;
    say(`${file.name || "The picture"}: ${best.label}, ${(100 * best.probability).toFixed(1)} %.`);
    if (models.get(name).explains) offerOverlay(card, name, file);
  } catch {
    fail("The server cannot be reached.");
  }
}

function offerOverlay(card, name, file) {
  const button = card.querySelector(".why");
  const canvas = card.querySelector("canvas");
  const legend = card.querySelector(".legend");
  let drawn = false;
  button.hidden = false;
  button.addEventListener("click", async () => {
    if (!drawn) {
      say("Looking at what the answer rests on.");
      const response = await post("explain", name, file);
      if (!response.ok) return say(await problemOf(response));
      draw(canvas, card.querySelector("img"), await response.json());
      drawn = true;
      say("Shown on the picture.");
    }
    const show = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(show));
    button.textContent = show ? "Hide what it rests on" : "Show what it rests on";
    canvas.hidden = legend.hidden = !show;
  });
}

// Paints the patches over the part of the picture that the model saw.
function draw(canvas, image, { map, box }) {
  const [rows, columns] = [map.length, map[0].length];
  canvas.width = columns;
  canvas.height = rows;
  const largest = Math.max(...map.flat().map(Math.abs), 1e-9);
  const painter = canvas.getContext("2d");
  map.forEach((row, y) => row.forEach((value, x) => {
    const strength = (0.75 * Math.abs(value)) / largest;
    painter.fillStyle = value > 0 ? `rgba(255,120,0,${strength})` : `rgba(0,110,255,${strength})`;
    painter.fillRect(x, y, 1, 1);
  }));
  const place = () => {
    const scale = Math.min(image.clientWidth / image.naturalWidth,
      image.clientHeight / image.naturalHeight);
    const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
    const left = image.offsetLeft + (image.clientWidth - width) / 2;
    const top = image.offsetTop + (image.clientHeight - height) / 2;
    canvas.style.left = `${left + box[0] * width}px`;
    canvas.style.top = `${top + box[1] * height}px`;
    canvas.style.width = `${(box[2] - box[0]) * width}px`;
    canvas.style.height = `${(box[3] - box[1]) * height}px`;
  };
  place();
  new ResizeObserver(place).observe(image);
}

function askAll(files) {
  if (!models.size) return say("No model can be reached.");
  for (const file of files) ask(file);
}

at("pick").addEventListener("click", () => at("files").click());
at("photograph").addEventListener("click", () => at("camera").click());
for (const id of ["files", "camera"]) {
  at(id).addEventListener("change", () => {
    askAll([...at(id).files]);
    at(id).value = "";
  });
}
at("model").addEventListener("change", describe);
at("key").addEventListener("change", loadModels);
at("key-field").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) askAll(files);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  const files = [...event.dataTransfer.files];
  if (files.length) askAll(files);
  else say("That is no file: save the picture, then drop it here.");
});

loadModels().catch(() => say("The server cannot be reached."));
