"""Align the rows of a label with the rows of an answer, given the similarity of every pair."""


def align_in_order(similarity: list[list[float]], width: int) -> list[tuple[int, int]]:
    """The pairs (row, column) with the greatest total similarity that keep the order of rows and columns."""
    best = [[0.0] * (width + 1) for _ in range(len(similarity) + 1)]
    for row in range(len(similarity)):
        for column in range(width):
            best[row + 1][column + 1] = max(
                best[row][column + 1], best[row + 1][column], best[row][column] + similarity[row][column]
            )
    pairs, row, column = [], len(similarity), width
    while row and column:
        if best[row][column] == best[row - 1][column]:
            row -= 1
        elif best[row][column] == best[row][column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((row, column))
    return pairs


def align_in_any_order(similarity: list[list[float]], width: int) -> list[tuple[int, int]]:
    """Greedy: the most similar pair first, then the most similar of the rest. Ties go to the closest positions."""
    ranked = sorted(
        (-similarity[row][column], abs(row - column), row, column)
        for row in range(len(similarity))
        for column in range(width)
    )
    pairs: dict[int, int] = {}
    for _, _, row, column in ranked:
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return list(pairs.items())
