"""The arithmetic of a bill: which amounts a total, a net sum, a tax, cash and change make of each other."""

from decimal import Decimal

ROUND = Decimal("0.051")  # cash is rounded to 0.05
MOST_TAX = Decimal("0.3")  # of the sum before it: above every country's rate
PROOFS = (
    "is_paid_less_change",
    "is_rounded_total",
    "is_paid_near_total",
    "is_net_and_tax",
    "is_subtotal_and_tax",
    "is_total_less_tax",
    "is_total_less_net",
    "is_total",
    "is_subtotal",
    "is_net",
    "is_tax",
    "is_share",
)  # the sums that make an amount a candidate without a label


class Sums:
    """The arithmetic of a receipt or an invoice, over the amounts that labels name."""

    def __init__(self, named: dict[str, set[Decimal]], solid: set[Decimal], rates: set[Decimal]) -> None:
        self.solid = solid
        named_sums = named.get("total", set()) | named.get("due", set()) | named.get("subtotal", set())
        self.shares = {
            (one * rate / whole).quantize(Decimal("0.01"))
            for one in named_sums
            for rate in rates
            for whole in (Decimal(100), 100 + rate)
        }
        cash, change = named.get("cash", set()), named.get("change", set())
        self.cash = cash
        self.taxes = named.get("tax", set())
        self.totals = named.get("total", set()) | named.get("due", set())
        self.subtotals = named.get("subtotal", set())
        rounding = {value for value in named.get("rounding", set()) if abs(value) < Decimal("0.1")}
        self.rounded = {
            total + sign * value for total in self.totals for value in rounding for sign in (1, -1) if value
        }
        self.tendered = {paid - back for paid in cash for back in change if paid >= back >= 0}
        self.nets, self.between = self._split_total(named)
        self.tips = named.get("tips", set()) | {Decimal(0)}

    def _split_total(self, named: dict[str, set[Decimal]]) -> tuple[set[Decimal], set[Decimal]]:
        """The printed pairs of a net sum and a tax that make the greatest total; neither is what was paid or handed
        back."""
        total = max(self.totals, default=Decimal(0))
        other = named.get("change", set()) | named.get("cash", set()) | named.get("rounding", set())
        taxes = {
            total - net for net in self.solid if 0 < total - net <= net * MOST_TAX and total - net in self.solid - other
        }
        return {total - tax for tax in taxes}, taxes

    def closed_by(self, value: Decimal) -> dict[str, bool]:
        """Which sums the value completes."""
        sized = abs(value)
        taxed = any(tax and 0 < abs(tax) < sized and sized - abs(tax) in self.solid for tax in self.taxes)
        return {
            "is_paid_less_change": value > 0 and value in self.tendered,
            "is_paid": value > 0 and value in self.cash,
            "is_rounded_total": value in self.rounded,
            "is_paid_near_total": (value in self.cash or value in self.tendered)
            and any(0 < abs(value - total) < ROUND for total in self.totals),
            "near_total": any(0 < abs(value - total) < ROUND for total in self.totals),
            "is_net_and_tax": taxed,
            "is_subtotal_and_tax": any(
                sub and abs(sub) + abs(tax) + tip == sized
                for sub in self.subtotals
                for tax in self.taxes
                for tip in self.tips
            ),
            "is_total_less_tax": any(tax and total - tax == value for total in self.totals for tax in self.taxes),
            "is_total_less_net": any(
                total > sub > 0 and total - sub == value for total in self.totals for sub in self.solid
            ),
            "is_total": value in self.totals,
            "is_subtotal": value in self.subtotals,
            "is_net": value in self.nets,
            "is_tax": value in self.between,
            "is_share": sized > 1 and value in self.shares and not self.between,
        }
