// One record: the page on the left, the form on the right. All keys are handled here. Python is sent an action when a
// value has changed ("check"), for "save" and "approve", and to go to another record.
export default function ({ data, parentElement, setTriggerValue }) {
  const host = parentElement.querySelector("#review")
  const make = (tag, text, name) => { const made = document.createElement(tag); if (text !== undefined && text !== null) made.textContent = text; if (name) made.className = name; return made }
  const button = (text, title, act, name) => { const made = make("button", text, name); made.type = "button"; made.title = title; made.onclick = act; return made }
  const form = data.form
  host.setTriggerValue = setTriggerValue

  // the browser may keep the form of a record that was left and opened again at once
  const same = host.now && host.now.id === form.id && host.now.version === form.version && host.data.left_at === data.left_at
  if (!same) build()
  host.building = false
  host.now = form
  window.onbeforeunload = event => { commit(); if (dirty()) event.preventDefault() }
  host.data = data
  host.sent = false
  showIssues()

  function build() {
    host.building = true
    host.viewer?.close()
    host.changes = { ...form.changes }
    host.rows = { ...form.rows }
    host.restored = dirty()
    host.page = startPage()
    host.replaceChildren()
    const head = make("header")
    head.append(button("‹ List", "Back to the list (Esc)", () => leave("back")), make("span", form.status, `tag ${form.status}`), make("h2", form.name), make("span", `${form.job}${form.page ? ` · page ${form.page}` : ""} · ${data.position}`, "soft"))
    const keys = make("div", undefined, "keys")
    host.actions = {
      previous: button("↑", "Previous record (Alt ↑)", () => leave("previous")),
      next: button("↓", "Next record (Alt ↓)", () => leave("next")),
      save: button("Save", "Save the changes (Ctrl S)", () => act("save")),
      approve: button("Accept", "Save, mark as correct and go to the next record (Ctrl Enter)", () => act("approve"), "main"),
    }
    keys.append(...Object.values(host.actions))
    head.append(keys)
    const pair = make("div", undefined, "pair"), left = make("div", undefined, "left"), viewer = make("div")
    host.pager = make("div", undefined, "pager")
    left.append(viewer, host.pager)
    host.right = make("div", undefined, "right")
    host.notes = make("div")
    host.form = make("form")
    host.form.autocomplete = "off"
    host.form.onsubmit = event => event.preventDefault()
    const help = make("div", undefined, "help soft")
    for (const [key, text] of [["Enter", "next field"], ["F8", "next issue"], ["Ctrl Enter", "accept and next"], ["Ctrl S", "save"], ["Alt ↓ ↑", "next, previous record"], ["Esc", "list"]]) help.append(make("kbd", key), ` ${text}   `)
    host.right.append(host.notes, host.form, help)
    pair.append(left, host.right)
    host.append(head, pair)
    host.viewer = openViewer(viewer, { onChoose: path => control(path)?.focus(), onDraw: box => setBox({ page: host.page, ...box }) })
    host.fields = form.fields.map(field => ({ ...field }))
    drawFields()
    host.onkeydown = keyed
    host.tabIndex = -1
    showPage(host.page)
    setTimeout(() => (nextIssue() || controls()[0] || host.actions.next)?.focus({ preventScroll: true }), 0)
  }

  function startPage() {
    const box = form.boxes.find(each => each.mark === "bad" || each.mark === "doubt") || form.boxes[0]
    return box ? box.page : form.page || form.pages[0] || 1
  }

  // ---- the page
  async function showPage(number) {
    host.page = number
    const boxes = host.now || form
    const total = await host.viewer.show({ src: data.image_base + number, boxes: (boxes.boxes || []).filter(box => box.page === number) })
    const last = total || Math.max(number, ...form.pages, 1)
    host.pager.replaceChildren()
    if (last > 1) {
      const back = button("‹", "Previous page (PgUp)", () => showPage(host.page - 1)), on = button("›", "Next page (PgDn)", () => showPage(host.page + 1))
      back.disabled = number <= 1
      on.disabled = number >= last
      host.pager.append(back, make("span", `page ${number} of ${last}`, "soft"), on)
    }
    host.last = last
  }

  async function highlight(path) {
    const box = host.now.boxes.find(each => each.path === path)
    if (box && box.page !== host.page) await showPage(box.page)
    host.viewer.highlight(path)
  }

  // ---- the form
  const controls = () => [...host.form.querySelectorAll("input, select, textarea")].filter(each => !each.disabled)
  const control = path => controls().find(each => each.dataset.path === path)
  const nextIssue = after => {
    const all = controls(), from = after ? all.indexOf(after) + 1 : 0
    const issues = (host.now || form).issues
    return [...all.slice(from), ...all.slice(0, from)].find(each => issues[each.dataset.path])
  }

  function drawFields() {
    const before = host.building
    host.building = true
    host.messages = new Map()
    host.form.replaceChildren(...host.fields.map(draw))
    host.building = before
  }

  // the element for the messages of a field; in a list each message begins with the column name
  function messagesOf(path, name = "") {
    const made = make("div", undefined, "messages")
    host.messages.set(path, { made, name })
    return made
  }

  function draw(field) {
    if (field.group) {
      const made = make("fieldset")
      made.dataset.of = field.path
      made.append(make("legend", field.name), messagesOf(field.path), ...field.group.map(draw))
      return made
    }
    if (field.columns) return drawRows(field)
    const line = make("div", undefined, "field"), label = make("label", field.name + (field.unit ? ` (${field.unit})` : "")), box = make("div", undefined, "control")
    const made = input(field, field)
    made.id = label.htmlFor = `field-${field.path}`
    if (field.hint) label.title = field.hint
    box.append(...withDrawButton(made), messagesOf(field.path))
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
      const line = make("tr"), below = make("tr"), messages = make("td")
      messages.colSpan = field.columns.length + 1
      row.forEach((leaf, at) => {
        const cell = make("td")
        cell.dataset.of = leaf.path
        cell.append(...withDrawButton(input(leaf, field.columns[at])))
        line.append(cell)
        messages.append(messagesOf(leaf.path, field.columns[at].name))
      })
      const cell = make("td", undefined, "delete")
      if (form.editable) cell.append(button("×", "Delete this row", () => reorder(field, order => order.splice(index, 1), index)))
      line.append(cell)
      below.append(messages)
      table.append(line, below)
    })
    rows.append(table)
    made.dataset.of = field.path
    made.append(make("legend", field.name), rows, messagesOf(field.path))
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
    made.value = displayText(host.changes[leaf.path] ?? leaf.value)
    made.dataset.path = leaf.path
    made.dataset.first = leaf.value
    made.ariaLabel = leaf.path
    made.disabled = !form.editable
    made.readOnly = kind.kind === "box"
    if (leaf.printed && leaf.printed !== leaf.value) made.title = `printed: ${leaf.printed}`
    made.onfocus = () => { host.at = leaf.path; host.viewer.draw(false); highlight(leaf.path); made.select?.() }
    made.onchange = () => { if (!host.building && host.now?.id === form.id) changed(made) } // not when the form is being replaced
    return made
  }

  // a box is drawn on the page and shown as numbers in the form
  function isBox(made) { return made.tagName === "INPUT" && made.readOnly }
  function displayText(value) {
    const whole = sides => sides.map(side => Math.round(value[side]))
    return value?.page ? `page ${value.page}: ${whole(["x", "y"]).join(", ")}, ${whole(["width", "height"]).join(" × ")}` : value
  }
  function withDrawButton(made) {
    if (!isBox(made) || made.disabled) return [made]
    const line = make("div", undefined, "boxed")
    line.append(made, button("▭", "Draw it on the page (Delete removes it)", () => { made.focus(); host.viewer.draw(true) }))
    return [line]
  }
  function setBox(box) {
    host.changes[host.at] = box
    const made = control(host.at)
    if (made) made.value = displayText(box)
    send("check")
  }

  function changed(made) {
    const path = made.dataset.path
    if (made.value === made.dataset.first && !(path in host.changes)) return
    if (made.value === made.dataset.first) delete host.changes[path]
    else host.changes[path] = made.value
    send("check")
  }

  function reorder(field, change, focus) {
    // rows are identified by their old index; edits move with their row; the row at `focus` gets the focus
    const order = host.rows[field.path] || field.rows.map((_, index) => index)
    const typed = field.rows.map(row => row.map(leaf => host.changes[leaf.path] ?? leaf.value))
    for (const row of field.rows) for (const leaf of row) delete host.changes[leaf.path]
    const before = order.map((old, index) => ({ old, index }))
    change(before)
    const wanted = before.map(each => each ?? { old: null, index: null })
    host.rows[field.path] = wanted.map(each => each.old)
    field.rows = wanted.map((each, at) => field.columns.map((column, columnIndex) => {
      const path = `${field.path}[${at}]${column.key ? `.${column.key}` : ""}`
      const value = each.index === null ? "" : typed[each.index][columnIndex]
      const first = each.index === null ? "" : field.rows[each.index][columnIndex].value
      if (value !== first) host.changes[path] = value
      return { path, value: first }
    }))
    drawFields()
    const at = Math.min(focus, wanted.length - 1)
    controls().find(each => each.dataset.path.startsWith(`${field.path}[${at}]`))?.focus()
    send("check")
  }

  // ---- actions sent to Python
  function send(action) {
    host.setTriggerValue("action", { do: action, id: host.now.id, version: host.now.version, changes: host.changes, rows: host.rows, at: Date.now() })
  }
  function dirty() { return Object.keys(host.changes).length > 0 || Object.keys(host.rows).length > 0 }
  function commit() {
    const active = parentElement.activeElement
    if (active?.dataset?.path && !isBox(active) && active.value !== active.dataset.first) host.changes[active.dataset.path] = active.value
  }
  function act(action) {
    if (!form.editable || host.sent) return
    commit()
    host.sent = true
    send(action)
  }
  function leave(action) {
    commit()
    if (dirty() && !confirm("You have unsaved changes. Discard them?")) return
    send(action)
  }

  function showIssues() {
    const issues = form.issues, leaves = new Map()
    const gather = field => field.group ? field.group.forEach(gather) : field.columns ? field.rows.flat().forEach(leaf => leaves.set(leaf.path, leaf)) : leaves.set(field.path, field)
    form.fields.forEach(gather)
    for (const each of host.form.querySelectorAll("[data-of]")) {
      const level = issues[each.dataset.of]?.level
      each.classList.toggle("bad", level === "bad")
      each.classList.toggle("doubt", level === "doubt")
    }
    for (const [path, { made, name }] of host.messages) {
      const issue = issues[path], leaf = leaves.get(path), before = name && `${name}: `
      made.replaceChildren(...(issue?.messages || []).map(text => make("div", before + text, issue.level)))
      if (leaf?.corrected) made.append(make("div", `${before}read as: ${leaf.machine || "nothing"} · ${leaf.corrected}`, "soft"))
    }
    const notes = [...data.messages, ...form.notes]
    for (const [path, { level, messages }] of Object.entries(issues)) if (!host.messages.has(path)) notes.push({ level, text: `${path}: ${messages.join(" ")}` })
    if (host.restored && dirty()) notes.unshift({ level: "doubt", text: "You have unsaved changes." })
    if (form.approved) notes.push({ level: "good", text: `Approved: ${form.approved}` })
    host.notes.replaceChildren(...notes.map(note => make("div", note.text, `note ${note.level}`)))
    for (const [name, each] of Object.entries(host.actions)) each.disabled = (name === "save" || name === "approve") && !form.editable
    host.viewer.show({ src: data.image_base + host.page, boxes: form.boxes.filter(box => box.page === host.page) })
    if (host.at) host.viewer.highlight(host.at)
    host.dataset.rendered = data.round
  }

  return () => { window.onbeforeunload = null; host.viewer?.close(); host.now = undefined }

  function keyed(event) {
    const control = event.target.dataset?.path !== undefined ? event.target : null
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); act("approve") }
    else if (event.key.toLowerCase() === "s" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); act("save") }
    else if (event.altKey && event.key === "ArrowDown") { event.preventDefault(); leave("next") }
    else if (event.altKey && event.key === "ArrowUp") { event.preventDefault(); leave("previous") }
    else if (event.key === "Escape") { event.preventDefault(); leave("back") }
    else if (event.key === "F8") { event.preventDefault(); nextIssue(control)?.focus() }
    else if ((event.key === "Delete" || event.key === "Backspace") && control && isBox(control)) { event.preventDefault(); setBox("") }
    else if (event.key === "PageDown" && host.page < host.last) { event.preventDefault(); showPage(host.page + 1) }
    else if (event.key === "PageUp" && host.page > 1) { event.preventDefault(); showPage(host.page - 1) }
    else if (event.key === "Enter" && control && control.tagName !== "TEXTAREA") {
      event.preventDefault()
      const all = controls(), next = all[all.indexOf(control) + (event.shiftKey ? -1 : 1)]
      if (next) next.focus(); else { control.blur(); host.actions.approve.focus() }
    }
  }
}
