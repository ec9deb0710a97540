// One record: the page at the left, the form at the right. All keys work here, at once; Python hears of a value when it
// was changed, of "accept", "save" and of the way to another record.
export default function ({ data, parentElement, setTriggerValue }) {
  const host = parentElement.querySelector("#review")
  const make = (tag, text, name) => { const made = document.createElement(tag); if (text !== undefined && text !== null) made.textContent = text; if (name) made.className = name; return made }
  const button = (text, title, act, name) => { const made = make("button", text, name); made.type = "button"; made.title = title; made.onclick = act; return made }
  const form = data.form
  host.say = setTriggerValue

  // a browser may keep the form of a record that was left and opened again at once
  const same = host.now && host.now.id === form.id && host.now.version === form.version && host.data.left_at === data.left_at
  if (!same) build()
  host.building = false
  host.now = form
  window.onbeforeunload = event => { commit(); if (dirty()) event.preventDefault() }
  host.data = data
  host.sent = false
  judge()

  function build() {
    host.building = true
    host.sheet?.close()
    host.answers = { ...form.changes }
    host.rows = { ...form.rows }
    host.leftOpen = dirty()
    host.page = firstPage()
    host.replaceChildren()
    const head = make("header")
    head.append(button("‹ List", "Back to the list (Esc)", () => leave("back")), make("span", form.status, `tag ${form.status}`), make("h2", form.name), make("span", `${form.job}${form.page ? ` · page ${form.page}` : ""} · ${data.place}`, "soft"))
    const keys = make("div", undefined, "keys")
    host.acts = {
      previous: button("↑", "The record before (Alt ↑)", () => leave("previous")),
      next: button("↓", "The next record (Alt ↓)", () => leave("next")),
      save: button("Save", "Save what was changed (Ctrl S)", () => act("save")),
      approve: button("Accept", "Save, say that it is right, and go on (Ctrl Enter)", () => act("approve"), "main"),
    }
    keys.append(...Object.values(host.acts))
    head.append(keys)
    const pair = make("div", undefined, "pair"), left = make("div", undefined, "left"), sheet = make("div")
    host.turn = make("div", undefined, "turn")
    left.append(sheet, host.turn)
    host.right = make("div", undefined, "right")
    host.notes = make("div")
    host.form = make("form")
    host.form.autocomplete = "off"
    host.form.onsubmit = event => event.preventDefault()
    const help = make("div", undefined, "help soft")
    for (const [key, text] of [["Enter", "next field"], ["F8", "next doubt"], ["Ctrl Enter", "accept and go on"], ["Ctrl S", "save"], ["Alt ↓ ↑", "next, previous record"], ["Esc", "list"]]) help.append(make("kbd", key), ` ${text}   `)
    host.right.append(host.notes, host.form, help)
    pair.append(left, host.right)
    host.append(head, pair)
    host.sheet = openSheet(sheet, { onChoose: path => control(path)?.focus(), onDraw: box => setBox({ page: host.page, ...box }) })
    host.fields = form.fields.map(field => ({ ...field }))
    drawFields()
    host.onkeydown = keyed
    host.tabIndex = -1
    showPage(host.page)
    setTimeout(() => (firstDoubt() || controls()[0] || host.acts.next)?.focus({ preventScroll: true }), 0)
  }

  function firstPage() {
    const doubtful = form.boxes.find(box => box.mark === "bad" || box.mark === "doubt") || form.boxes[0]
    return doubtful ? doubtful.page : form.page || form.pages[0] || 1
  }

  // ---- the page
  async function showPage(number) {
    host.page = number
    const boxes = host.now || form
    const total = await host.sheet.show({ src: data.pictures + number, boxes: (boxes.boxes || []).filter(box => box.page === number) })
    const last = total || Math.max(number, ...form.pages, 1)
    host.turn.replaceChildren()
    if (last > 1) {
      const back = button("‹", "The page before (PgUp)", () => showPage(host.page - 1)), on = button("›", "The next page (PgDn)", () => showPage(host.page + 1))
      back.disabled = number <= 1
      on.disabled = number >= last
      host.turn.append(back, make("span", `page ${number} of ${last}`, "soft"), on)
    }
    host.last = last
  }

  async function light(path) {
    const box = host.now.boxes.find(each => each.path === path)
    if (box && box.page !== host.page) await showPage(box.page)
    host.sheet.light(path)
  }

  // ---- the form
  const controls = () => [...host.form.querySelectorAll("input, select, textarea")].filter(each => !each.disabled)
  const control = path => controls().find(each => each.dataset.path === path)
  const firstDoubt = after => {
    const all = controls(), from = after ? all.indexOf(after) + 1 : 0
    const reasons = (host.now || form).reasons
    return [...all.slice(from), ...all.slice(0, from)].find(each => reasons[each.dataset.path])
  }

  function drawFields() {
    const before = host.building
    host.building = true
    host.whys = new Map()
    host.form.replaceChildren(...host.fields.map(draw))
    host.building = before
  }

  // where the reasons of a field are told; inside a list its name stands before them
  function why(path, name = "") {
    const made = make("div", undefined, "why")
    host.whys.set(path, { made, name })
    return made
  }

  function draw(field) {
    if (field.group) {
      const made = make("fieldset")
      made.dataset.of = field.path
      made.append(make("legend", field.name), why(field.path), ...field.group.map(draw))
      return made
    }
    if (field.columns) return drawRows(field)
    const line = make("div", undefined, "field"), label = make("label", field.name + (field.unit ? ` (${field.unit})` : "")), box = make("div", undefined, "control")
    const made = input(field, field)
    made.id = label.htmlFor = `field-${field.path}`
    if (field.hint) label.title = field.hint
    box.append(...withPen(made), why(field.path))
    line.append(label, box)
    line.dataset.of = field.path
    return line
  }

  function drawRows(field) {
    const made = make("fieldset"), rows = make("div", undefined, "rows"), table = make("table"), head = make("tr")
    field.columns.forEach((column, at) => {
      const made = make("th", column.name + (column.unit ? ` (${column.unit})` : ""))
      const longest = Math.max(column.name.length, ...field.rows.map(row => row[at].value.length), 5)
      made.style.minWidth = `${Math.min(longest + 3, 30)}ch`
      made.style.width = `${Math.min(longest + 3, 60)}ch`
      head.append(made)
    })
    head.append(make("th"))
    table.append(head)
    field.rows.forEach((row, index) => {
      const line = make("tr"), below = make("tr"), told = make("td")
      told.colSpan = field.columns.length + 1
      row.forEach((leaf, at) => {
        const cell = make("td")
        cell.dataset.of = leaf.path
        cell.append(...withPen(input(leaf, field.columns[at])))
        line.append(cell)
        told.append(why(leaf.path, field.columns[at].name))
      })
      const cell = make("td", undefined, "drop")
      if (form.editable) cell.append(button("×", "Drop this row", () => reorder(field, order => order.splice(index, 1), index)))
      line.append(cell)
      below.append(told)
      table.append(line, below)
    })
    rows.append(table)
    made.dataset.of = field.path
    made.append(make("legend", field.name), rows, why(field.path))
    if (form.editable) made.append(button("+ row", "Add a row", () => reorder(field, order => order.push(null), field.rows.length), "add"))
    return made
  }

  function input(leaf, kind) {
    let made
    if (kind.kind === "choice") {
      made = make("select")
      made.append(...["", ...kind.options].map(value => { const option = make("option", value || "–"); option.value = value; return option }))
    } else if (kind.kind === "long") {
      made = make("textarea")
      made.rows = Math.min(14, Math.max(3, leaf.value.split("\n").length + 1))
    } else made = make("input", undefined, kind.kind === "number" ? "number" : "")
    made.value = written(host.answers[leaf.path] ?? leaf.value)
    made.dataset.path = leaf.path
    made.dataset.first = leaf.value
    made.ariaLabel = leaf.path
    made.disabled = !form.editable
    made.readOnly = kind.kind === "box"
    if (leaf.printed && leaf.printed !== leaf.value) made.title = `printed: ${leaf.printed}`
    made.onfocus = () => { host.at = leaf.path; host.sheet.draw(false); light(leaf.path); made.select?.() }
    made.onchange = () => { if (!host.building && host.now?.id === form.id) changed(made) } // not when it is taken away
    return made
  }

  // a box is drawn on the page, and read as numbers in the form
  function isBox(made) { return made.tagName === "INPUT" && made.readOnly }
  function written(value) {
    const whole = sides => sides.map(side => Math.round(value[side]))
    return value?.page ? `page ${value.page}: ${whole(["x", "y"]).join(", ")}, ${whole(["width", "height"]).join(" × ")}` : value
  }
  function withPen(made) {
    if (!isBox(made) || made.disabled) return [made]
    const line = make("div", undefined, "boxed")
    line.append(made, button("▭", "Draw it on the page (Delete takes it away)", () => { made.focus(); host.sheet.draw(true) }))
    return [line]
  }
  function setBox(box) {
    host.answers[host.at] = box
    const made = control(host.at)
    if (made) made.value = written(box)
    send("check")
  }

  function changed(made) {
    const path = made.dataset.path
    if (made.value === made.dataset.first && !(path in host.answers)) return
    if (made.value === made.dataset.first) delete host.answers[path]
    else host.answers[path] = made.value
    send("check")
  }

  function reorder(field, change, place) {
    // rows are known by their old number; what was typed goes with its row; `place` is the row to go on with
    const order = host.rows[field.path] || field.rows.map((_, index) => index)
    const typed = field.rows.map(row => row.map(leaf => host.answers[leaf.path] ?? leaf.value))
    for (const row of field.rows) for (const leaf of row) delete host.answers[leaf.path]
    const before = order.map((old, index) => ({ old, index }))
    change(before)
    const wanted = before.map(each => each ?? { old: null, index: null })
    host.rows[field.path] = wanted.map(each => each.old)
    field.rows = wanted.map((each, at) => field.columns.map((column, place) => {
      const path = `${field.path}[${at}]${column.key ? `.${column.key}` : ""}`
      const value = each.index === null ? "" : typed[each.index][place]
      const first = each.index === null ? "" : field.rows[each.index][place].value
      if (value !== first) host.answers[path] = value
      return { path, value: first }
    }))
    drawFields()
    const at = Math.min(place, wanted.length - 1)
    controls().find(each => each.dataset.path.startsWith(`${field.path}[${at}]`))?.focus()
    send("check")
  }

  // ---- what Python is told, and what it says
  function send(what) {
    host.say("said", { do: what, id: host.now.id, version: host.now.version, changes: host.answers, rows: host.rows, at: Date.now() })
  }
  function dirty() { return Object.keys(host.answers).length > 0 || Object.keys(host.rows).length > 0 }
  function commit() {
    const active = parentElement.activeElement
    if (active?.dataset?.path && !isBox(active) && active.value !== active.dataset.first) host.answers[active.dataset.path] = active.value
  }
  function act(what) {
    if (!form.editable || host.sent) return
    commit()
    host.sent = true
    send(what)
  }
  function leave(where) {
    commit()
    if (dirty() && !confirm("What you changed here is not saved. Leave it?")) return
    send(where)
  }

  function judge() {
    const reasons = form.reasons, leaves = new Map()
    const gather = field => field.group ? field.group.forEach(gather) : field.columns ? field.rows.flat().forEach(leaf => leaves.set(leaf.path, leaf)) : leaves.set(field.path, field)
    form.fields.forEach(gather)
    for (const each of host.form.querySelectorAll("[data-of]")) {
      const level = reasons[each.dataset.of]?.level
      each.classList.toggle("bad", level === "bad")
      each.classList.toggle("doubt", level === "doubt")
    }
    for (const [path, { made, name }] of host.whys) {
      const reason = reasons[path], leaf = leaves.get(path), before = name && `${name}: `
      made.replaceChildren(...(reason?.words || []).map(text => make("div", before + text, reason.level)))
      if (leaf?.corrected) made.append(make("div", `${before}machine: ${leaf.machine || "nothing"} · ${leaf.corrected}`, "soft"))
    }
    const notes = [...data.told, ...form.notes]
    for (const [path, { level, words }] of Object.entries(reasons)) if (!host.whys.has(path)) notes.push({ level, text: `${path}: ${words.join(" ")}` })
    if (host.leftOpen && dirty()) notes.unshift({ level: "doubt", text: "What you changed here is not saved yet." })
    if (form.approved) notes.push({ level: "good", text: `Approved: ${form.approved}` })
    host.notes.replaceChildren(...notes.map(note => make("div", note.text, `note ${note.level}`)))
    for (const [name, each] of Object.entries(host.acts)) each.disabled = (name === "save" || name === "approve") && !form.editable
    host.sheet.show({ src: data.pictures + host.page, boxes: form.boxes.filter(box => box.page === host.page) })
    if (host.at) host.sheet.light(host.at)
    host.dataset.judged = data.round
  }

  return () => { window.onbeforeunload = null; host.sheet?.close(); host.now = undefined }

  function keyed(event) {
    const made = event.target.dataset?.path !== undefined ? event.target : null
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); act("approve") }
    else if (event.key.toLowerCase() === "s" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); act("save") }
    else if (event.altKey && event.key === "ArrowDown") { event.preventDefault(); leave("next") }
    else if (event.altKey && event.key === "ArrowUp") { event.preventDefault(); leave("previous") }
    else if (event.key === "Escape") { event.preventDefault(); leave("back") }
    else if (event.key === "F8") { event.preventDefault(); firstDoubt(made)?.focus() }
    else if ((event.key === "Delete" || event.key === "Backspace") && made && isBox(made)) { event.preventDefault(); setBox("") }
    else if (event.key === "PageDown" && host.page < host.last) { event.preventDefault(); showPage(host.page + 1) }
    else if (event.key === "PageUp" && host.page > 1) { event.preventDefault(); showPage(host.page - 1) }
    else if (event.key === "Enter" && made && made.tagName !== "TEXTAREA") {
      event.preventDefault()
      const all = controls(), next = all[all.indexOf(made) + (event.shiftKey ? -1 : 1)]
      if (next) next.focus(); else { made.blur(); host.acts.approve.focus() }
    }
  }
}
