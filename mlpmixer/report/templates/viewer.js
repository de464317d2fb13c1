// Shows a figure over the whole window, with zoom and pan. Without it the page still shows all.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const dialog = byId("viewer"), stage = byId("viewer-stage"), image = byId("viewer-image");
  const title = byId("viewer-title"), about = byId("viewer-tile");
  const LARGEST_PIXEL = 64, LARGEST_ZOOM = 24, STEP = 1.3, PAN = 80, FILE_WIDTH = 1600;
  let natural = [1, 1], scale = 1, fitted = 1, left = 0, top = 0, tiles = null, moved = false;
  const held = new Map();

  const place = () => {
    image.style.width = `${natural[0] * scale}px`;
    image.style.height = `${natural[1] * scale}px`;
    image.style.transform = `translate(${left}px, ${top}px)`;
  };
  const within = (start, length, room) =>
    length <= room ? (room - length) / 2 : Math.min(room * 0.5, Math.max(room * 0.5 - length, start));
  const settle = () => {
    left = within(left, natural[0] * scale, stage.clientWidth);
    top = within(top, natural[1] * scale, stage.clientHeight);
    place();
  };
  const fit = () => {
    const room = Math.min(stage.clientWidth / natural[0], stage.clientHeight / natural[1]) * 0.96;
    scale = fitted = tiles && room > 1 ? Math.floor(room) : room;
    left = top = 0;
    settle();
  };
  const zoom = (factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
    const most = tiles ? LARGEST_PIXEL : fitted * LARGEST_ZOOM;
    const next = Math.min(Math.max(scale * factor, Math.min(fitted, 1) * 0.5), most);
    left = x - (x - left) * (next / scale);
    top = y - (y - top) * (next / scale);
    scale = next;
    settle();
  };

  const open = (figure) => {
    tiles = figure.dataset.tiles ? JSON.parse(figure.dataset.tiles) : null;
    const card = figure.closest("figure");
    title.textContent = card?.querySelector("h3")?.textContent ?? figure.alt;
    about.textContent = tiles ? "Point at a tile to see its numbers." : "";
    image.alt = figure.alt;
    image.className = figure.classList.contains("pixels") ? "pixels" : "";
    natural = [figure.naturalWidth || 800, figure.naturalHeight || 600];
    image.src = figure.src;
    dialog.showModal();
    fit();
  };

  // What is known of the tile under the pointer.
  const describe = (x, y) => {
    if (!tiles) return;
    const [width, height] = tiles.tile, gap = tiles.gap;
    const across = (x - left) / scale, down = (y - top) / scale;
    const pitch = width + gap, pair = 2 * pitch + gap;
    const column = tiles.paired
      ? 2 * Math.floor(across / pair) + (across % pair >= pitch ? 1 : 0)
      : Math.floor(across / pitch);
    const index = Math.floor(down / (height + gap)) * tiles.columns + column;
    const labels = Object.entries(tiles.labels);
    const inside = across >= 0 && down >= 0 && column < tiles.columns;
    about.textContent = inside && index < labels[0][1].length
      ? labels.map(([name, values]) => `${name} ${String(values[index]).replace("-", "−")}`).join(" · ")
      : "";
  };
  const spot = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const spread = () => {
    const [one, other] = [...held.values()];
    return [Math.hypot(one[0] - other[0], one[1] - other[1]),
            (one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
  };

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1);
    zoom(Math.exp(-Math.max(-240, Math.min(240, pixels)) * 0.0025), ...spot(event));
    describe(...spot(event));
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    held.set(event.pointerId, spot(event));
    stage.classList.add("held");
    moved = false;
  });
  stage.addEventListener("pointermove", (event) => {
    const now = spot(event), before = held.get(event.pointerId);
    if (!before) return describe(...now);
    const pinch = held.size === 2 ? spread() : null;
    held.set(event.pointerId, now);
    if (pinch) {
      const [distance, x, y] = spread();
      left += x - pinch[1];
      top += y - pinch[2];
      zoom(distance / Math.max(pinch[0], 1), x, y);
    } else {
      left += now[0] - before[0];
      top += now[1] - before[1];
      settle();
    }
    moved ||= Math.hypot(now[0] - before[0], now[1] - before[1]) > 2;
  });
  const release = (event) => {
    held.delete(event.pointerId);
    if (!held.size) stage.classList.remove("held");
    if (event.type === "pointerup" && !moved) describe(...spot(event));
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("dblclick", (event) => zoom(2, ...spot(event)));

  dialog.addEventListener("keydown", (event) => {
    const pan = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] };
    if (event.key === "+" || event.key === "=") zoom(STEP);
    else if (event.key === "-") zoom(1 / STEP);
    else if (event.key === "0") fit();
    else if (event.key in pan) {
      left += pan[event.key][0];
      top += pan[event.key][1];
      settle();
    } else return;
    event.preventDefault();
  });
  byId("viewer-in").addEventListener("click", () => zoom(STEP));
  byId("viewer-out").addEventListener("click", () => zoom(1 / STEP));
  byId("viewer-fit").addEventListener("click", fit);
  byId("viewer-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { image.removeAttribute("src"); held.clear(); });
  window.addEventListener("resize", () => { if (dialog.open) fit(); });

  // A mosaic has a pixel for each weight; as a file it is magnified, like that in the folder figures.
  const enlarged = (figure) => {
    const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
    const factor = Math.max(1, Math.round(FILE_WIDTH / figure.naturalWidth));
    canvas.width = figure.naturalWidth * factor;
    canvas.height = figure.naturalHeight * factor;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(figure, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
  };
  const wrapped = (figure) => {
    const size = `width="${figure.naturalWidth}" height="${figure.naturalHeight}"`;
    const picture = `<image ${size} href="${figure.src}" style="image-rendering:pixelated"/>`;
    const frame = `viewBox="0 0 ${figure.naturalWidth} ${figure.naturalHeight}"`;
    return "data:image/svg+xml;base64," +
      btoa(`<svg xmlns="http://www.w3.org/2000/svg" ${frame}>${picture}</svg>`);
  };

  // The figure that the page shows is in the page once; its link takes it from there.
  for (const figure of document.querySelectorAll("img.zoomable")) {
    figure.tabIndex = 0;
    figure.setAttribute("role", "button");
    figure.title = "Enlarge";
    figure.addEventListener("click", () => open(figure));
    figure.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open(figure);
    });
    const links = figure.closest("figure").querySelector(".downloads");
    const offer = (kind, make) => {
      const link = document.createElement("a");
      link.download = `${links.dataset.name}.${kind}`;
      link.textContent = kind.toUpperCase();
      link.href = figure.src;
      if (make) link.addEventListener("click", () => { link.href = make(figure); });
      links.prepend(link);
    };
    if (figure.classList.contains("pixels")) {
      offer("svg", wrapped);
      offer("png", enlarged);
    } else offer("svg");
  }
})();
