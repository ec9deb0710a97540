"""The rule language: one-line checks over the fields of a job, such as `sum(lines.amount) == total`.

    rule       := comparison | yes-or-no field | rule and rule | rule or rule | not rule
    comparison := value == != < <= > >= value (chained as in 0 <= a <= b) | value in [constants] | value in choices
    value      := field | number | "text" | "2024-06-15" | today | value + - * / value | -value
                | sum(column) | min(…) | max(…) | count(list) | abs(value)

A rule with a column (lines.amount) is checked row by row. A null operand skips the rule (for a column: in that row).
"""

from pipeline.schema.rules.evaluate import check
from pipeline.schema.rules.grammar import Rule, RuleError, faults, parse

__all__ = ["Rule", "RuleError", "check", "faults", "parse"]
