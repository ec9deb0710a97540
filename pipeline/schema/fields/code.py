"""`code`: a source file that the engine writes, such as a Vue component or a CSV table."""

import json
from typing import Any, ClassVar, Literal

from pipeline.schema.fields import code_check
from pipeline.schema.fields.base import Coerced
from pipeline.schema.fields.long_text import LongField, blocks, trimmed

Language = Literal[
    "vue", "html", "python", "javascript", "typescript", "json", "csv", "css", "sql", "xml", "yaml", "shell", "text"
]
ENDINGS: dict[str, str] = {
    "vue": ".vue", "html": ".html", "python": ".py", "javascript": ".js", "typescript": ".ts", "json": ".json",
    "csv": ".csv", "css": ".css", "sql": ".sql", "xml": ".xml", "yaml": ".yaml", "shell": ".sh", "text": ".txt",
}  # fmt: skip
_NAMES: dict[str, tuple[str, ...]] = {  # other names of languages at a fence
    "html": ("htm", "xhtml"), "python": ("py", "python3"), "javascript": ("js", "jsx", "mjs"),
    "typescript": ("ts", "tsx"), "yaml": ("yml",), "shell": ("sh", "bash", "zsh", "console"),
    "text": ("txt", "plain", "plaintext"), "xml": ("svg",), "json": ("jsonc",),
}  # fmt: skip
_EXAMPLES: dict[str, str] = {
    "vue": '<template>\n  <el-button type="primary">OK</el-button>\n</template>\n\n<script setup>\n</script>',
    "html": "<!doctype html>\n<title>Login</title>\n<p>OK</p>",
    "python": "def total(rows):\n    return sum(rows)",
    "json": '{\n  "total": 12\n}',
    "csv": "part,count\nbolt,12",
    "xml": "<part>\n  <count>12</count>\n</part>",
    "yaml": "part: bolt\ncount: 12",
}


class CodeField(LongField):
    """The longest fenced block of the language, else the longest fenced block, else the answer. Never executed."""

    type_name: ClassVar[str] = "code"
    joins_windows: ClassVar[bool] = False
    finder: ClassVar[str | None] = None

    type: Literal["code"] = "code"
    language: Language

    @property
    def file_suffix(self) -> str:
        return ENDINGS[self.language]

    def value_description(self) -> str:
        return f"one whole {self.language} file" if self.language != "text" else "one plain text file"

    def free_text_prompt(self) -> str:
        block = f"one fenced block (```{self.language})"
        return f"Answer with {self.prompt_text()}. Put it into {block} and write nothing else."

    def coerce(self, answer: Any) -> Coerced:
        if self.language == "json" and isinstance(answer, dict | list):
            try:
                answer = json.dumps(answer, ensure_ascii=False, indent=2, default=str)
            except (ValueError, RecursionError):
                return self.wrong(answer)
        return super().coerce(answer)

    def _text(self, answer: str) -> str:
        found = blocks(answer)
        names = (self.language, *_NAMES.get(self.language, ()))
        own = [block for block in found if block.language in names]
        return max((block.text for block in own or found), key=len, default=trimmed(answer))

    def fault(self, text: str) -> str | None:
        return code_check.fault(self.language, text)

    def example(self) -> str:
        return _EXAMPLES.get(self.language, "12")
