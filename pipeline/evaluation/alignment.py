"""Which row of a label belongs to which row of an answer, given the worth of every pair."""


def in_order(worth: list[list[float]], width: int) -> list[tuple[int, int]]:
    """The pairs (row, column) of the greatest total worth in which neither rows nor columns cross."""
    best = [[0.0] * (width + 1) for _ in range(len(worth) + 1)]
    for row in range(len(worth)):
        for column in range(width):
            best[row + 1][column + 1] = max(
                best[row][column + 1], best[row + 1][column], best[row][column] + worth[row][column]
            )
    pairs, row, column = [], len(worth), width
    while row and column:
        if best[row][column] == best[row - 1][column]:
            row -= 1
        elif best[row][column] == best[row][column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((row, column))
    return pairs


def in_any_order(worth: list[list[float]], width: int) -> list[tuple[int, int]]:
    """The likest pair first, then the likest of the rest; of equal ones, those nearest in their order."""
    ranked = sorted(
        (-worth[row][column], abs(row - column), row, column) for row in range(len(worth)) for column in range(width)
    )
    pairs: dict[int, int] = {}
    for _, _, row, column in ranked:
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return list(pairs.items())
