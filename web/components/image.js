// Page viewer: shows an image with boxes. Wheel or pinch zooms, dragging moves, a click on a box chooses it.
// viewer = openViewer(element, {onChoose, onDraw}); viewer.show({src, width, height, boxes}); viewer.highlight(path)
// After viewer.draw(true) the next drag draws a box and calls onDraw({x, y, width, height}); viewer.draw(false) cancels.
// A box is {path, x, y, width, height, label, mark}; mark is "", "doubt", "bad" or "done". All sizes are in source
// pixels. Without width and height the response header X-Source-Size is used. The header X-Turn is the clockwise
// rotation in degrees that is applied at first to the page and its boxes.

const NS = "http://www.w3.org/2000/svg"

function openViewer(host, { onChoose = () => {}, onDraw = () => {} } = {}) {
  host.classList.add("viewer")
  host.innerHTML = `<svg role="img" aria-label="The page"><g class="turned"><image></image><g class="boxes"></g></g></svg>
    <p class="message" role="status"></p>
    <div class="tools"><button type="button" data-do="out" title="Smaller (−)">−</button><button type="button" data-do="in"
    title="Larger (+)">+</button><button type="button" data-do="fit" title="Whole page (0)">⤢</button><button type="button"
    data-do="turn" title="Rotate the page">⟳</button></div>`
  const svg = host.querySelector("svg"), turned = host.querySelector(".turned"), picture = host.querySelector("image")
  const group = host.querySelector(".boxes"), message = host.querySelector(".message")
  const state = { src: null, width: 1, height: 1, turn: 0, view: null, boxes: [], highlighted: null, blob: null, request: 0 }
  const pointers = new Map()

  const size = () => (state.turn % 2 ? [state.height, state.width] : [state.width, state.height])
  const viewportSize = () => { const box = svg.getBoundingClientRect(); return [Math.max(1, box.width), Math.max(1, box.height)] }

  function fit() {
    const [width, height] = size(), [wide, high] = viewportSize()
    const scale = Math.min(wide / width, high / height)
    state.view = { x: (width - wide / scale) / 2, y: (height - high / scale) / 2, scale }
    state.fitted = true
    draw()
  }

  function draw() {
    if (!state.view) return
    const [wide, high] = viewportSize(), { x, y, scale } = state.view
    svg.setAttribute("viewBox", `${x} ${y} ${wide / scale} ${high / scale}`)
    const { width, height } = state
    const turns = ["", `translate(${height} 0) rotate(90)`, `translate(${width} ${height}) rotate(180)`, `translate(0 ${width}) rotate(270)`]
    turned.setAttribute("transform", turns[state.turn])
  }

  function zoom(factor, at) {
    if (!state.view) return
    const [wide, high] = viewportSize(), point = at || [wide / 2, high / 2], view = state.view
    const [width, height] = size(), least = Math.min(wide / width, high / height) * 0.5
    const scale = Math.min(8, Math.max(least, view.scale * factor))
    state.view = { x: view.x + point[0] / view.scale - point[0] / scale, y: view.y + point[1] / view.scale - point[1] / scale, scale }
    state.fitted = false
    draw()
  }

  function move(dx, dy) {
    if (!state.view) return
    state.view = { ...state.view, x: state.view.x - dx / state.view.scale, y: state.view.y - dy / state.view.scale }
    state.fitted = false
    draw()
  }

  function drawBoxes() {
    group.replaceChildren(...state.boxes.map(box => {
      const rect = document.createElementNS(NS, "rect"), title = document.createElementNS(NS, "title")
      const pad = 4
      for (const [name, value] of [["x", box.x - pad], ["y", box.y - pad], ["width", box.width + 2 * pad], ["height", box.height + 2 * pad], ["rx", 3]])
        rect.setAttribute(name, value)
      rect.setAttribute("class", `box ${box.mark || ""}${box.path === state.highlighted ? " highlighted" : ""}`)
      rect.dataset.path = box.path
      title.textContent = box.label || box.path
      rect.append(title)
      return rect
    }))
  }

  function reveal(box) {
    if (!state.view) return
    const corners = [[box.x, box.y], [box.x + box.width, box.y + box.height]].map(([x, y]) =>
      [[x, y], [state.height - y, x], [state.width - x, state.height - y], [y, state.width - x]][state.turn])
    const xs = corners.map(each => each[0]), ys = corners.map(each => each[1])
    const [wide, high] = viewportSize(), { x, y, scale } = state.view
    const out = Math.min(...xs) < x || Math.max(...xs) > x + wide / scale || Math.min(...ys) < y || Math.max(...ys) > y + high / scale
    if (!out) return
    state.view = { x: (xs[0] + xs[1]) / 2 - wide / scale / 2, y: (ys[0] + ys[1]) / 2 - high / scale / 2, scale }
    draw()
  }

  function highlight(path) {
    state.highlighted = path
    for (const rect of group.children) rect.classList.toggle("highlighted", rect.dataset.path === path)
    const box = state.boxes.find(each => each.path === path)
    if (box) {
      const rect = [...group.children].find(each => each.dataset.path === path)
      group.append(rect) // above the others
      reveal(box)
    }
  }

  async function show({ src, width, height, boxes = [] }) {
    state.boxes = boxes
    drawBoxes()
    if (src === state.src) return state.pages
    state.src = src
    const request = ++state.request
    message.textContent = src ? "…" : ""
    picture.style.opacity = 0.25
    if (!src) return
    try {
      const response = await fetch(src)
      const blob = await response.blob()
      if (request !== state.request) return
      if (!response.ok) throw new Error(await blob.text())
      const sourceSize = (response.headers.get("X-Source-Size") || "").split("x").map(Number)
      if (state.blob) URL.revokeObjectURL(state.blob)
      state.blob = URL.createObjectURL(blob)
      if (!width && sourceSize.length < 2) {
        const bitmap = await createImageBitmap(blob)
        ;[width, height] = [bitmap.width, bitmap.height]
      }
      state.width = width || sourceSize[0]
      state.height = height || sourceSize[1]
      state.turn = (Number(response.headers.get("X-Turn")) / 90 || 0) % 4
      state.pages = Number(response.headers.get("X-Pages")) || undefined
      picture.setAttribute("href", state.blob)
      picture.setAttribute("width", state.width)
      picture.setAttribute("height", state.height)
      picture.setAttribute("preserveAspectRatio", "none")
      picture.style.opacity = 1
      group.style.visibility = "visible"
      message.textContent = ""
      host.dataset.shown = src
      fit()
      if (state.highlighted) highlight(state.highlighted)
    } catch (error) {
      if (request !== state.request) return
      picture.removeAttribute("href")
      group.style.visibility = "hidden"
      message.textContent = error.message || "The image cannot be shown."
    }
    return state.pages
  }

  function setDrawing(on) {
    state.drawing = on
    host.classList.toggle("drawing", on)
  }

  // from pixels of the SVG to pixels of the page
  function pagePoint([left, top]) {
    const { x, y, scale } = state.view, [across, down] = [x + left / scale, y + top / scale], { width, height } = state
    const [px, py] = [[across, down], [down, height - across], [width - across, height - down], [width - down, across]][state.turn]
    return [Math.min(width, Math.max(0, px)), Math.min(height, Math.max(0, py))]
  }

  const between = ([x1, y1], [x2, y2]) => ({ x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1) })
  const position = event => { const box = svg.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top] }
  svg.addEventListener("wheel", event => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), position(event)) }, { passive: false })
  svg.addEventListener("pointerdown", event => {
    if (state.drawing && state.view && !state.from) {
      state.from = pagePoint(position(event))
      state.drawn = document.createElementNS(NS, "rect")
      state.drawn.setAttribute("class", "box highlighted")
      turned.append(state.drawn)
      svg.setPointerCapture(event.pointerId)
    } else pointers.set(event.pointerId, [...position(event), 0])
  })
  svg.addEventListener("pointermove", event => {
    if (state.from) for (const [name, value] of Object.entries(between(state.from, pagePoint(position(event))))) state.drawn.setAttribute(name, value)
    const before = pointers.get(event.pointerId)
    if (!before) return
    const now = position(event), moved = before[2] + Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1])
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1]
    if (moved > 4 && !svg.hasPointerCapture(event.pointerId)) svg.setPointerCapture(event.pointerId)
    if (other) {
      const apart = point => Math.hypot(point[0] - other[0], point[1] - other[1])
      zoom(apart(now) / Math.max(1, apart(before)), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2])
    } else if (moved > 4) move(now[0] - before[0], now[1] - before[1])
    pointers.set(event.pointerId, [...now, moved])
  })
  const release = event => {
    if (state.from) {
      const box = between(state.from, pagePoint(position(event)))
      state.drawn.remove()
      state.from = state.drawn = null
      if (event.type === "pointerup" && box.width >= 3 && box.height >= 3) { setDrawing(false); onDraw(box) }
      return
    }
    const before = pointers.get(event.pointerId)
    pointers.delete(event.pointerId)
    if (event.type === "pointerup" && before && before[2] <= 4) {
      const path = event.target.closest?.(".box")?.dataset.path
      if (path !== undefined) onChoose(path)
    }
  }
  svg.addEventListener("pointerup", release)
  svg.addEventListener("pointercancel", release)
  svg.addEventListener("dblclick", event => zoom(2, position(event)))
  host.querySelector(".tools").addEventListener("click", event => {
    const action = event.target.closest("button")?.dataset.do
    if (action === "in") zoom(1.35)
    if (action === "out") zoom(1 / 1.35)
    if (action === "fit") fit()
    if (action === "turn") { state.turn = (state.turn + 1) % 4; fit() }
  })
  const watcher = new ResizeObserver(() => { if (state.view) state.fitted ? fit() : draw() })
  watcher.observe(svg)
  return {
    show, highlight, fit, zoom, draw: setDrawing,
    close() { watcher.disconnect(); if (state.blob) URL.revokeObjectURL(state.blob) },
  }
}
