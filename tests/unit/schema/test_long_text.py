"""Long texts: what is kept, what is taken out of its fence, what is asked of a file."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schema.fields import CodeField, MarkdownField, ProseField, lone_text

VUE = "<template>\n  <p>1</p>\n</template>\n<script>\n</script>"
LINES = st.text(st.characters(exclude_categories=["C"], include_characters="\n\t"), max_size=200)


def code(language: str, **keys: Any) -> CodeField:
    return CodeField.model_validate({"type": "code", "language": language, **keys})


@given(text=LINES.map(lambda text: f"a{text}z"))
def test_a_long_text_is_kept_to_the_letter(text: str) -> None:
    assert ProseField().coerce(text).value == text.replace("\ufeff", "").replace("\u2060", "")
    assert code("text").coerce(f"  {text}").value is not None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("\n\n    indented\n  less\n\n", "    indented\n  less"),
        ("a\x00b\ud800c\x07", "abc"),
        ("None", "None"),
        ("-", "-"),
        (" null ", None),
        ("", None),
        (None, None),
        (12, "12"),
    ],
)
def test_what_is_kept_of_an_answer(answer: Any, text: str | None) -> None:
    assert ProseField().coerce(answer) == (text, ())


def test_what_is_no_text_is_none_and_what_is_too_long_is_kept_with_a_reason() -> None:
    assert [problem.code for problem in ProseField().coerce(["a"]).problems] == ["wrong_type"]
    got = ProseField(max_length=5).coerce("123456")
    assert got == ("123456", (("bad_text", "it has 6 characters, more than 5 (max_length)", ""),))
    got = ProseField().coerce("x" * 100_001)
    assert (got.value, got.problems[0].code) == (None, "not_allowed")


@pytest.mark.parametrize(
    ("language", "answer", "text"),
    [
        ("vue", f"```vue\n{VUE}\n```", VUE),
        ("vue", f"Sure!\n\n```Vue title=a.vue\n{VUE}\n```\nThen:\n```js\nlet a = 1\n```", VUE),
        ("vue", f"```html\n{VUE}\n```", VUE),
        ("vue", f"```bash\n{'npm install element-plus ' * 9}\n```\n```vue\n{VUE}\n```", VUE),
        ("vue", VUE, VUE),
        ("vue", f"```vue\n{VUE}", VUE),
        ("python", "```py\na = 1\n```", "a = 1"),
        ("python", "```python\na = 1\n```\n```python\nb = 1\nc = 2\n```", "b = 1\nc = 2"),
        ("python", "    a = 1", "    a = 1"),
        ("json", '~~~json\n{"a": 1}\n~~~', '{"a": 1}'),
        ("json", {"a": [1]}, '{\n  "a": [\n    1\n  ]\n}'),
        ("csv", "````csv\na,b\n```\n1,2\n````", "a,b\n```\n1,2"),
    ],
)
def test_code_is_taken_out_of_its_fence(language: str, answer: Any, text: str) -> None:
    assert code(language).coerce(answer).value == text


def test_code_that_does_not_parse_is_kept_with_an_issue() -> None:
    got = code("json").coerce('{"a": ')
    assert got.value == '{"a":'
    assert [problem.code for problem in got.problems] == ["bad_text"]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("| part | COUNT |\n|---|---|\n| a | 1 |", None),
        ("```markdown\n| **Part** | Count | Note |\n|---|---|---|\n| a | 1 | |\n```", None),
        ("| Part |\n|---|\n| a |", "its table has no column Count"),
        ("Part: a", "it has no table; one with the columns Part, Count is asked for"),
    ],
)
def test_a_table_in_markdown_has_the_columns_that_are_asked_for(answer: str, fault: str | None) -> None:
    value, problems = MarkdownField(columns=("Part", "Count")).coerce(answer)
    assert value == answer.removeprefix("```markdown\n").removesuffix("\n```")
    assert [problem.message for problem in problems] == ([fault] if fault else [])


def test_markdown_keeps_fences_that_are_its_own() -> None:
    text = "# How\n\n```sh\nls\n```\n"
    assert MarkdownField().coerce(text).value == text.strip()
    assert MarkdownField().coerce("```sh\nls\n```").value == "```sh\nls\n```"


@given(
    answer=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)
    )
)
def test_no_answer_makes_a_long_field_raise(answer: Any) -> None:
    for field in (ProseField(), MarkdownField(columns=("a",)), code("vue"), code("json"), code("python")):
        value, problems = field.coerce(answer)
        assert value is None or isinstance(value, str)
        assert all(problem.message for problem in problems)


def test_which_fields_only_need_reading() -> None:
    assert [field.readable for field in (ProseField(), ProseField(verbatim=True), MarkdownField(), code("csv"))] == [
        False,
        True,
        True,
        False,
    ]
    assert lone_text({"a": ProseField()})
    assert lone_text({"a": ProseField(), "b": ProseField()}) is None
