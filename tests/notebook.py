"""Runs the cells of a notebook as a kernel would: one after the other, the last line of each shown."""

import ast
import base64
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from PIL import Image


def run(path: Path) -> dict[str, Any]:
    """Return the notebook with what its cells give now. Raises: whatever a cell raises."""
    notebook = json.loads(path.read_text("utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = outputs_of("".join(cell["source"]), names, count)
    return notebook


def outputs_of(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    *body, last = ast.parse(source).body
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        else:
            exec(compile(ast.Module([last], []), "cell", "exec"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(True)})
    if value is not None:
        shown = {"output_type": "execute_result", "metadata": {}, "execution_count": count, "data": shown_as(value)}
        outputs.append(shown)
    return outputs


def shown_as(value: Any) -> dict[str, Any]:
    """Return what a notebook shows of a value: HTML, a picture, or its repr."""
    data: dict[str, Any] = {"text/plain": repr(value).splitlines(True)}
    if hasattr(value, "_repr_html_"):
        data["text/html"] = value._repr_html_().splitlines(True)
    if isinstance(value, Image.Image):
        data["text/plain"] = [f"<picture of {value.width} by {value.height} pixels>"]
        buffer = io.BytesIO()
        value.save(buffer, "PNG", optimize=True)
        data["image/png"] = base64.b64encode(buffer.getvalue()).decode()
    return data


if __name__ == "__main__":
    import sys

    for name in sys.argv[1:]:
        made = json.dumps(run(Path(name)), indent=1, ensure_ascii=False)
        Path(name).write_text(made + "\n", encoding="utf-8")
