// The list of records: a filter bar, rows that open by click or Enter, and pages.
export default function ({ data, parentElement, setTriggerValue }) {
  const host = parentElement.querySelector("#list")
  const make = (tag, text, name) => { const made = document.createElement(tag); if (text !== undefined) made.textContent = text; if (name) made.className = name; return made }
  const say = what => setTriggerValue("said", { ...what, at: Date.now() })
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
  const filter = () => say({ do: "filter", text: host.search.value.trim(), ...Object.fromEntries(Object.entries(host.choices).map(([name, each]) => [name, each.value])) })
  host.search.oninput = () => { clearTimeout(host.timer); host.timer = setTimeout(filter, 250) }
  if (parentElement.activeElement !== host.search) host.search.value = data.filter.text
  for (const [name, each] of Object.entries(host.choices)) {
    const all = { job: "all jobs", status: "all states", day: "all days" }[name]
    each.replaceChildren(...[["", all], ...data.options[name].map(value => [value, value])].map(([value, text]) => { const option = make("option", text); option.value = value; return option }))
    each.value = data.filter[name]
    each.onchange = filter
  }
  host.count.textContent = data.total === 1 ? "1 record" : `${data.total.toLocaleString("en")} records`
  const parts = []
  if (data.rows.length) {
    const table = make("table"), head = make("tr"), body = make("tbody")
    for (const [name, text] of [["status", "state"], ["name", "document"], ["said", "what it says"], ["issue", "what to look at"], ["sure", "least sure"], ["job", "job"], ["day", "day"]]) head.append(make("th", text, name))
    for (const row of data.rows) {
      const line = make("tr")
      line.tabIndex = 0
      line.dataset.key = row.key
      const tag = make("td", undefined, "status")
      tag.append(make("span", row.status, `tag ${row.status}`))
      const cells = [tag, make("td", row.name, "name"), make("td", row.said || "–", "said soft"), make("td", row.issue + (row.issues > 1 ? ` (+${row.issues - 1})` : ""), "issue"), make("td", row.sure === null ? "–" : row.sure.toFixed(2), "sure"), make("td", row.job, "job"), make("td", row.day, "day")]
      for (const cell of cells) cell.title = cell.textContent
      line.append(...cells)
      line.onclick = () => say({ do: "open", key: row.key })
      line.onkeydown = event => {
        if (event.key === "Enter") say({ do: "open", key: row.key })
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
    const none = make("div", undefined, "none")
    none.append(make("b", data.none[0]), make("span", data.none[1], "soft"))
    parts.push(none)
  }
  if (data.pages > 1) {
    const more = make("div", undefined, "more")
    const back = make("button", "‹ earlier"), next = make("button", "later ›")
    back.disabled = data.page === 0
    next.disabled = data.page + 1 >= data.pages
    back.onclick = () => say({ do: "turn", page: data.page - 1 })
    next.onclick = () => say({ do: "turn", page: data.page + 1 })
    more.append(back, make("span", `page ${data.page + 1} of ${data.pages}`, "soft"), next)
    parts.push(more)
  }
  host.body.replaceChildren(...parts)
}
