"""Two bars at once, as of two threads, leave one line each."""

import io
import re

from promptscope.progress import progress_bar


def screen(text: str) -> list[str]:
    """Return the lines that a terminal shows: tqdm goes to the start of a line, to the next one, and up."""
    lines, row, column = [""] * 10, 0, 0
    for part in re.findall(r"\r|\n|\x1b\[A|[^\r\n\x1b]+", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
        elif part == "\x1b[A":
            row -= 1
        else:
            lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def test_two_bars_leave_a_line_each() -> None:
    file = io.StringIO()
    options = {"total": 3, "shown": True, "file": file, "ascii": True, "ncols": 60, "mininterval": 0}
    upper, lower = progress_bar(desc="upper", **options), progress_bar(desc="lower", **options)
    for _ in range(3):
        upper.update()
    upper.close()
    for _ in range(3):
        lower.update()
    lower.close()
    shown = screen(file.getvalue())
    assert [line.split(":")[0] for line in shown] == ["upper", "lower"]
    assert all("3/3" in line for line in shown)
