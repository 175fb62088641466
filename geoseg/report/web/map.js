"use strict";
/* The map: scene, classes and layers, and the object that is chosen on it. Offers `globalThis.geoseg` to objects.js. */
globalThis.geoseg = (() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const page = read("map-data");
  const root = document.documentElement;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const CHOSEN = "#f0e442";
  const HIT_PX = 4;
  const listeners = [];

  /* Features come packed: see `packed_features` in shown_features.py. */
  function unpacked({ p, r, l, d }) {
    const unit = 10 ** page.digits;
    const points = (steps) => {
      let [x, y] = [0, 0];
      const line = [];
      for (let i = 0; i < steps.length; i += 2) {
        x += steps[i];
        y += steps[i + 1];
        line.push([x / unit, y / unit]);
      }
      return line;
    };
    const closed = (line) => [...line, line[0]];
    const geometry = r
      ? { type: "Polygon", coordinates: r.map((ring) => closed(points(ring))) }
      : l
        ? { type: "LineString", coordinates: points(l) }
        : { type: "Point", coordinates: points(d)[0] };
    return { type: "Feature", properties: p, geometry };
  }

  read("features-data").forEach((packed, number) => {
    page.layers[number].features = packed.map(unpacked);
  });
  const corners = page.corners;
  const home = [corners[3], corners[1]];
  const names = page.layers.map((layer) => layer.name);
  const features = page.layers.flatMap((layer) =>
    layer.features.map((feature) => ({ layer, feature, box: boxOf(feature.geometry) })),
  );

  /* West, south, east, north of a geometry, whatever its kind. */
  function boxOf(geometry) {
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    const visit = (part) => {
      if (typeof part[0] === "number") {
        box[0] = Math.min(box[0], part[0]);
        box[1] = Math.min(box[1], part[1]);
        box[2] = Math.max(box[2], part[0]);
        box[3] = Math.max(box[3], part[1]);
      } else part.forEach(visit);
    };
    visit(geometry.coordinates);
    return box;
  }

  /* A colour made darker, for outlines. */
  function darker(color) {
    const value = parseInt(color.slice(1), 16);
    const part = (shift) => Math.round(((value >> shift) & 255) * 0.55);
    return `rgb(${part(16)},${part(8)},${part(0)})`;
  }

  /* White strokes that tell layers apart without colours, the same as in the legend; null for none. */
  function pattern(number) {
    const kind = number % 6;
    if (kind === 1) return null;
    const side = 16;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const pen = canvas.getContext("2d");
    pen.strokeStyle = pen.fillStyle = "rgba(255,255,255,0.55)";
    pen.lineWidth = 1.2;
    const lines = {
      0: [[-4, 4, 4, -4], [-2, 18, 18, -2], [12, 20, 20, 12]],
      3: [[0, 4, side, 4], [0, 12, side, 12]],
      4: [[4, 0, 4, side], [12, 0, 12, side]],
      5: [[0, 8, side, 8], [8, 0, 8, side]],
    }[kind];
    if (lines) {
      pen.beginPath();
      for (const [x0, y0, x1, y1] of lines) {
        pen.moveTo(x0, y0);
        pen.lineTo(x1, y1);
      }
      pen.stroke();
    } else {
      for (const [x, y] of [[4, 4], [12, 12]]) {
        pen.beginPath();
        pen.arc(x, y, 1.3, 0, 7);
        pen.fill();
      }
    }
    return pen.getImageData(0, 0, side, side);
  }

  function sourceOf(layer) {
    if (page.tiles) return { source: "picture:tiles", "source-layer": layer.name };
    return { source: layer.name };
  }

  const paper = () => getComputedStyle(root).getPropertyValue("--empty").trim();

  function style() {
    const sources = {};
    const layers = [{ id: "picture:paper", type: "background", paint: { "background-color": paper() } }];
    const pictures = [["scene", true, 1], ["classes", false, 0.75]];
    for (const [id, shown, opacity] of pictures) {
      const picture = document.getElementById(`${id}-picture`);
      if (!picture) continue;
      // Names of layers have no colon.
      sources[`picture:${id}`] = { type: "image", url: picture.src, coordinates: corners };
      const paint = { "raster-opacity": opacity, "raster-fade-duration": 0 };
      if (id === "classes") paint["raster-resampling"] = "nearest";
      layers.push({ id: `picture:${id}`, type: "raster", source: `picture:${id}`, paint, layout: { visibility: shown ? "visible" : "none" } });
    }
    if (page.tiles) sources["picture:tiles"] = { type: "vector", url: `pmtiles://${new URL(page.tiles.path, location.href)}` };
    const drawn = page.tiles ? page.layers.filter((layer) => page.tiles.layers.includes(layer.name)) : page.layers;
    const area = ["==", ["geometry-type"], "Polygon"];
    // Large, flowing things lie below small ones, so that those can be seen and hit.
    const mean = (layer) => (layer.area_m2 ?? 0) / (layer.count || 1);
    const order = [...drawn].sort((a, b) => mean(b) - mean(a));
    for (const layer of order) {
      if (!page.tiles) {
        const data = { type: "FeatureCollection", features: layer.features };
        sources[layer.name] = { type: "geojson", data, maxzoom: 20, tolerance: 0.2 };
      }
      const from = sourceOf(layer);
      const isLines = layer.length_m !== undefined;
      const wide = ["interpolate", ["linear"], ["zoom"], 12, isLines ? 0.9 : 0.5, 16, isLines ? 2 : 1.2, 19, isLines ? 3 : 2.2];
      layers.push(
        { id: `${layer.name}/fill`, type: "fill", ...from, filter: area, paint: { "fill-color": layer.color, "fill-opacity": 0.42, "fill-antialias": false } },
        { id: `${layer.name}/line`, type: "line", ...from, paint: { "line-color": isLines ? layer.color : darker(layer.color), "line-width": wide } },
        { id: `${layer.name}/point`, type: "circle", ...from, filter: ["==", ["geometry-type"], "Point"], paint: { "circle-color": layer.color, "circle-radius": 4, "circle-stroke-width": 1, "circle-stroke-color": "#fff" } },
      );
    }
    for (const layer of order) {
      const from = sourceOf(layer);
      const none = ["==", ["get", "id"], "no such id"];
      layers.push(
        { id: `${layer.name}/casing`, type: "line", ...from, filter: none, paint: { "line-color": "#000", "line-width": 6 } },
        { id: `${layer.name}/chosen`, type: "line", ...from, filter: none, paint: { "line-color": CHOSEN, "line-width": 3 } },
      );
    }
    return { version: 8, sources, layers };
  }

  function start() {
    if (page.tiles) maplibregl.addProtocol("pmtiles", new pmtiles.Protocol().tile);
    const map = new maplibregl.Map({
      container: "map",
      style: style(),
      bounds: home,
      fitBoundsOptions: { padding: 24 },
      maxZoom: 22,
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      renderWorldCopies: false,
      refreshExpiredTiles: false,
      cooperativeGestures: false,
    });
    root.dataset.map = "drawing";
    map.keyboard.disableRotation();
    map.touchZoomRotate.disableRotation();
    map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-left");
    map.addControl(new maplibregl.FullscreenControl(), "top-left");
    map.addControl(new maplibregl.ScaleControl({ maxWidth: 140 }), "bottom-left");
    map.once("load", () => {
      page.layers.forEach((layer, number) => {
        const image = pattern(number);
        if (!image || !map.getLayer(`${layer.name}/fill`)) return;
        map.addImage(`pattern-${number}`, image);
        const paint = { "fill-pattern": `pattern-${number}` };
        const filter = ["==", ["geometry-type"], "Polygon"];
        map.addLayer({ id: `${layer.name}/pattern`, type: "fill", ...sourceOf(layer), filter, paint }, `${layer.name}/line`);
      });
      map.once("idle", () => { root.dataset.map = "drawn"; });
    });
    map.on("click", (event) => choose(hit(map, event.point)));
    map.on("mousemove", (event) => { map.getCanvas().style.cursor = hit(map, event.point) ? "pointer" : ""; });
    dark.addEventListener("change", () => map.setPaintProperty("picture:paper", "background-color", paper()));
    return map;
  }

  /* The smallest object near a place on the screen. */
  function hit(map, { x, y }) {
    const layers = names.flatMap((name) => [`${name}/fill`, `${name}/line`, `${name}/point`]).filter((id) => map.getLayer(id));
    const exact = map.queryRenderedFeatures([x, y], { layers });
    const around = [[x - HIT_PX, y - HIT_PX], [x + HIT_PX, y + HIT_PX]];
    const found = exact.length ? exact : map.queryRenderedFeatures(around, { layers });
    if (!found.length) return null;
    const size = (one) => one.properties.area_m2 ?? 0;
    const best = found.reduce((least, one) => (size(one) < size(least) ? one : least));
    const layer = page.layers.find((one) => one.name === best.layer.id.split("/")[0]);
    const id = String(best.properties.id);
    const part = String(best.properties.part ?? "");
    const listed = features.find((one) => one.layer === layer && one.feature.properties.id === id && String(one.feature.properties.part ?? "") === part);
    return listed ?? { layer, feature: { properties: { ...best.properties, id } }, box: null };
  }

  /* Have an object outlined, and tell who listens; null for none. */
  function choose(one, { go = false } = {}) {
    if (map) {
      for (const layer of page.layers) {
        const mine = one && one.layer === layer;
        const filter = ["==", ["to-string", ["get", "id"]], mine ? one.feature.properties.id : "no such id"];
        for (const kind of ["casing", "chosen"]) if (map.getLayer(`${layer.name}/${kind}`)) map.setFilter(`${layer.name}/${kind}`, filter);
      }
      if (one && go) show(one);
    }
    listeners.forEach((listener) => listener(one));
  }

  function show(one) {
    if (!map || !one.box) return;
    const [west, south, east, north] = one.box;
    map.fitBounds([[west, south], [east, north]], { padding: 80, maxZoom: 19, duration: still.matches ? 0 : 600 });
  }

  function setShown(name, shown) {
    if (!map) return;
    const visibility = shown ? "visible" : "none";
    for (const { id } of map.getStyle().layers) {
      const [layer, kind] = id.split("/");
      if (id === name || (layer === name && kind !== "pattern")) map.setLayoutProperty(id, "visibility", visibility);
    }
    setPatterns();
  }

  function setPatterns() {
    const wanted = document.querySelector('[data-show="patterns"]').checked;
    for (const box of document.querySelectorAll("[data-layer]")) {
      const id = `${box.dataset.layer}/pattern`;
      if (map?.getLayer(id)) map.setLayoutProperty(id, "visibility", wanted && box.checked ? "visible" : "none");
    }
  }

  let map = null;
  const webgl = document.createElement("canvas").getContext("webgl2");
  if (webgl) {
    webgl.getExtension("WEBGL_lose_context")?.loseContext();
    map = start();
  } else {
    root.dataset.map = "none";
    document.getElementById("no-map").hidden = false;
  }
  return { page, features, map, choose, show, setShown, setPatterns, listen: (listener) => listeners.push(listener) };
})();
