// The list of records: filter bar, table, page buttons. A row opens with a click or Enter.
export default function ({ data, parentElement, setTriggerValue }) {
  const host = parentElement.querySelector("#list")
  const make = (tag, text, name) => { const made = document.createElement(tag); if (text !== undefined) made.textContent = text; if (name) made.className = name; return made }
  const send = action => setTriggerValue("action", { ...action, at: Date.now() })
  if (!host.bar) {
    host.bar = make("form", undefined, "bar")
    host.bar.onsubmit = event => event.preventDefault()
    host.search = make("input")
    Object.assign(host.search, { type: "search", placeholder: "Search names, values, issues", ariaLabel: "Search" })
    host.choices = {}
    for (const name of ["job", "status", "day"]) {
      host.choices[name] = make("select")
      host.choices[name].ariaLabel = name
    }
    host.count = make("span", "", "count")
    host.body = make("div")
    host.bar.append(host.search, ...Object.values(host.choices), host.count)
    host.append(host.bar, host.body)
  }
  const filter = () => send({ do: "filter", text: host.search.value.trim(), ...Object.fromEntries(Object.entries(host.choices).map(([name, each]) => [name, each.value])) })
  host.search.oninput = () => { clearTimeout(host.timer); host.timer = setTimeout(filter, 250) }
  if (parentElement.activeElement !== host.search) host.search.value = data.filter.text
  for (const [name, each] of Object.entries(host.choices)) {
    const all = { job: "all jobs", status: "all statuses", day: "all days" }[name]
    each.replaceChildren(...[["", all], ...data.options[name].map(value => [value, value])].map(([value, text]) => { const option = make("option", text); option.value = value; return option }))
    each.value = data.filter[name]
    each.onchange = filter
  }
  host.count.textContent = data.total === 1 ? "1 record" : `${data.total.toLocaleString("en")} records`
  const parts = []
  if (data.rows.length) {
    const table = make("table"), head = make("tr"), body = make("tbody")
    for (const [name, text] of [["status", "status"], ["name", "document"], ["summary", "values"], ["issue", "issues"], ["confidence", "confidence"], ["job", "job"], ["day", "day"]]) head.append(make("th", text, name))
    for (const row of data.rows) {
      const line = make("tr")
      line.tabIndex = 0
      line.dataset.key = row.key
      const tag = make("td", undefined, "status")
      tag.append(make("span", row.status, `tag ${row.status}`))
      const cells = [tag, make("td", row.name, "name"), make("td", row.summary || "–", "summary soft"), make("td", row.issue + (row.issues > 1 ? ` (+${row.issues - 1})` : ""), "issue"), make("td", row.confidence === null ? "–" : row.confidence.toFixed(2), "confidence"), make("td", row.job, "job"), make("td", row.day, "day")]
      for (const cell of cells) cell.title = cell.textContent
      line.append(...cells)
      line.onclick = () => send({ do: "open", key: row.key })
      line.onkeydown = event => {
        if (event.key === "Enter") send({ do: "open", key: row.key })
        if (event.key === "ArrowDown") { line.nextSibling?.focus(); event.preventDefault() }
        if (event.key === "ArrowUp") { line.previousSibling?.focus(); event.preventDefault() }
      }
      body.append(line)
    }
    const top = make("thead")
    top.append(head)
    table.append(top, body)
    parts.push(table)
  } else {
    const empty = make("div", undefined, "empty")
    empty.append(make("b", data.empty[0]), make("span", data.empty[1], "soft"))
    parts.push(empty)
  }
  if (data.pages > 1) {
    const pager = make("div", undefined, "pager")
    const back = make("button", "‹ Previous"), next = make("button", "Next ›")
    back.disabled = data.page === 0
    next.disabled = data.page + 1 >= data.pages
    back.onclick = () => send({ do: "page", page: data.page - 1 })
    next.onclick = () => send({ do: "page", page: data.page + 1 })
    pager.append(back, make("span", `page ${data.page + 1} of ${data.pages}`, "soft"), next)
    parts.push(pager)
  }
  host.body.replaceChildren(...parts)
}
