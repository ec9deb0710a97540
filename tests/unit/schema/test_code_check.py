"""Texts that parse and texts that do not, in every language that is checked; and what is made to break a parser."""

import sys
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schema.fields import code_check

VUE = """\
<template>
  <el-form :model="form" @submit.prevent="a > b && send()">
    <el-input v-model="form.name" placeholder="姓名" />
    <p v-if="n < 3">{{ n }}</p>
    <img src="a.png">
  </el-form>
</template>

<script setup lang="ts">
import { ref } from 'vue'
const form = ref<{ name: string }>({ name: '</p>' })
for (let i = 0; i < 3; i++) console.log(i)
</script>

<style scoped>
.a > .b { color: red }
</style>"""


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("vue", VUE),
        ("vue", "<script>\n</script>\n<template><router-view/></template>"),
        ("html", "<!doctype html>\n<html><head><title>a < b</title></head><body><p>one<p>two<br><ul><li>x</ul>"),
        ("html", "<table><tr><td>1<td>2</table><svg><path d='M0 0'/></svg>"),
        ("html", "<script>if (a < b && b > c) { document.write('</div>') }</script>"),
        ("python", 'def f(x):\n    """\\d"""\n    return x\n'),
        ("python", "match x:\n    case [1, *rest]:\n        pass"),
        ("python", "def f():\n    try:\n        return 1\n    finally:\n        g()\n"),
        ("python", "try:\n    f()\nexcept A:\n    g()\nelse:\n    h()\nfinally:\n    i()\n"),
        ("python", "try:\n    f()\nexcept* A:\n    g()\nfinally:\n    i()\n"),
        ("python", "import no_such_thing\nraise SystemExit(no_such_thing.x / 0)"),
        ("json", '{"a": [1, 2.5, null], "b": "ü"}'),
        ("json", "9" * 5000),
        ("csv", 'a,b\n"x, y",2\n"line\nbreak",3\n'),
        ("csv", "a;b;c\n1,5;2;3"),
        ("csv", "one\ntwo"),
        ("xml", '<?xml version="1.0"?><a b="c"><d/></a>'),
        ("yaml", "a:\n  - 1\n  - {b: c}\n"),
        ("javascript", "anything goes ((("),
        ("text", "<<<"),
    ],
)
def test_what_is_sound(language: str, text: str) -> None:
    assert code_check.fault(language, text) is None


@pytest.mark.parametrize(
    ("language", "text", "says"),
    [
        ("vue", "<template><p>x</p></template>", "needs a <script> block"),
        ("vue", "just words", "needs a <template> and <script> block"),
        ("vue", "<div><template></template></div><script></script>", "needs a <template> block"),
        ("vue", "<template>\n<p>x\n</template><script></script>", "<p> of line 2 is not closed before </template> in"),
        ("html", "The page shows a login.", "no HTML element"),
        ("html", "<div>\n<span>x</div>", "<span> of line 2 is not closed before </div> in line 2"),
        ("html", "<div><b>x</b>", "<div> of line 1 is not closed before the end"),
        ("html", "x</div>", "</div> in line 1 closes nothing"),
        ("html", "<div>" * 101 + "</div>" * 101, "more than 100 elements"),
        ("python", "def f(:\n  pass", "does not read line 1"),
        ("python", "a = 1\n  b = 2", "line 2: unexpected indent"),
        ("python", "a = '\0'", "null"),
        ("python", "a = 1\nreturn a", "line 2: 'return' outside function"),
        ("python", "try:\n  f()\nfinally:\n  break", "line 4: 'break' outside loop"),
        ("python", "def f(a, a):\n  pass", "duplicate argument 'a'"),
        ("python", "def f():\n  yield\nawait f()", "line 3: 'await' outside function"),
        ("python", "(" * 200 + ")" * 200, "more than 100 nested brackets"),
        ("json", '{"a": 1,}', "line 1"),
        ("json", '{"a": NaN}', "NaN"),
        ("csv", "a,b\n1,2,3", "line 2 has 3 values, the first line has 2"),
        ("csv", 'a,b\n"x', "not CSV"),
        ("xml", "<a><b></a>", "mismatched tag"),
        ("xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "entities"),
        ("yaml", "a: [1", "line"),
        ("yaml", "a: \x01", "YAML"),
    ],
)
def test_what_is_not_sound_says_where(language: str, text: str, says: str) -> None:
    assert says in (code_check.fault(language, text) or "it is sound")


HOSTILE = [
    *("<p a=", "<a b='", "<!--", "<![x", "<b>", "</b>", "<a>", "&", "(", "[", "{", "{'a':", "f'{", "`"),
    *("-", "not ", "a.b", "lambda:", "a,", '"', "'''", "*", "1+", "if 1:\n", "@a\n"),
    *("try:\n a\nfinally:\n b\n", "def f(): 0\n", "return\n", "try:\n", " ", "finally:\n", "except: a\n"),
    *("|a", "|a|\n|-|\n", "- ", "? ", "&a ", "> ", "\t"),
]


@pytest.mark.parametrize("language", ["vue", "html", "python", "json", "csv", "xml", "yaml", "markdown"])
def test_what_is_made_to_break_a_parser_costs_a_moment(language: str) -> None:
    began = process_time()
    limit = sys.getrecursionlimit()
    for piece in HOSTILE:
        text = (piece * 20_000)[:20_000]
        if language == "markdown":
            code_check.headings(text)
        else:
            code_check.fault(language, text)
    assert process_time() - began < 10  # 0.5 s measured, all together
    assert sys.getrecursionlimit() == limit


def test_python_with_many_ways_out_costs_a_moment() -> None:
    inside = "".join(f"{' ' * i}try:\n{' ' * i} a\n{' ' * i}finally:\n" for i in range(19)) + " " * 19 + "b\n"
    aside = "def f():\n try:\n" + "  if a: return\n" * 3000 + " finally:\n" + "  b;b;b;b\n" * 4000
    began = process_time()
    assert code_check.fault("python", inside) is None
    assert code_check.fault("python", aside) is None
    assert process_time() - began < 5  # 0.3 s measured, with `finally` as it stands gigabytes


@given(
    language=st.sampled_from(["vue", "html", "python", "json", "csv", "xml", "yaml"]),
    text=st.text()
    | st.lists(st.sampled_from([*HOSTILE, "<template>", "</script>", "\n", " "]), max_size=40).map("".join),
)
def test_no_text_makes_a_check_raise(language: str, text: str) -> None:
    told = code_check.fault(language, text)
    assert told is None or told


def test_headings_of_tables() -> None:
    text = "# Parts\n\n| **Part** | No `x` |\n|:--|--:|\n| a | 1 |\n\nand\n\nA | B\n--|--\n1 | 2\n\n| no | table |"
    assert code_check.headings(text) == [["**Part**", "No `x`"], ["A", "B"]]
    assert code_check.headings("no | table") == []
