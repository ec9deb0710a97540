"""What is appended comes back in order, packed or not."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.system.compressed_list import CHUNK, CompressedList


@given(st.integers(0, 3 * CHUNK + 1))
def test_what_goes_in_comes_out_in_order(count: int) -> None:
    roll: CompressedList[str] = CompressedList()
    for number in range(count):
        roll.append(f"entry {number}")
    assert len(roll) == count
    assert list(roll) == [f"entry {number}" for number in range(count)]
    assert roll.first(3) == list(roll)[:3]
