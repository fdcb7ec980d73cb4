"""Random study files: an ordinary one, damaged."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

LINES = (
    "[study]",
    'name = "fuzz"',
    "[model]",
    'build = "microcircuit"',
    "scale = 0.01",
    "[simulation]",
    "duration = 10.0",
    "warmup = 0.0",
    "timestep = 0.1",
    "seeds = [1, 2]",
    "[reference]",
    'backend = "emulator"',
    'format = "double"',
    "[[candidate]]",
    'backend = "emulator"',
    'format = ["naive-2", "float32"]',
    "[backends.emulator]",
    "threads = 1",
)
KEYS = [line.split(" = ")[0] for line in LINES if " = " in line]
values = st.one_of(
    st.sampled_from(
        [
            *(
                '""',
                '"\\u0000"',
                '"nest"',
                '"double"',
                "[]",
                "[[]]",
                "{}",
                "true",
                "nan",
                "inf",
                "-inf",
            ),
            *(
                "0",
                "-1",
                "1e400",
                "1e-400",
                "9" * 30,
                "9" * 5000,
                "1979-05-27",
                "07:32:00",
                '["x", 1]',
            ),
            *("[1, 1]", "[0]", "[4294967296]", "[1.0]", '"../../x"', '"a.py:build"', '"x:"', '":"'),
            *(
                '"naive-0"',
                '"naive-999999999"',
                '"s99.99"',
                '"double@0ms"',
                '"double@-1ms"',
                '"x.toml"',
            ),
            *("{a = {b = {c = 1}}}", "[" * 200 + "]" * 200, '"' + "x" * 5000 + '"', '"\\u202e"'),
        ]
    ),
    st.floats().map(str),
    st.integers().map(str),
    st.text(st.characters(codec="utf-8"), max_size=10).map(lambda t: f'"{t}"'),
)


@st.composite
def texts(draw: Any) -> str:
    """The text of a study file with up to four changes."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1)) if lines else 0
        match draw(st.sampled_from(["value", "value", "remove", "repeat", "key", "text", "swap"])):
            case "value" if lines and " = " in lines[at]:
                lines[at] = f"{lines[at].split(' = ')[0]} = {draw(values)}"
            case "remove" if lines:
                del lines[at]
            case "repeat" if lines:
                lines.insert(at, lines[at])
            case "key":
                key = draw(st.one_of(st.sampled_from(KEYS), st.text("abc_.-[]\"'", max_size=6)))
                lines.insert(at, f"{key} = {draw(values)}")
            case "text":
                lines.insert(at, draw(st.text(max_size=10)))
            case "swap" if lines:
                lines[0], lines[at] = lines[at], lines[0]
    return "\n".join(lines)


names = st.one_of(
    st.text(max_size=20),
    st.from_regex(
        r"(naive|moments)-[0-9]{1,12}(/(float32|s[0-9]{1,3}\.[0-9]{1,3}))?", fullmatch=True
    ),
    st.from_regex(r"s[0-9]{1,3}\.[0-9]{1,3}(-(floor|zero|wrap|full)){0,3}", fullmatch=True),
    st.from_regex(
        r"(loihi|xylo|spinnaker|truenorth|x\.toml)(-full)?(-[0-9]{1,3})?(/[a-z0-9.]{1,8})?(@[0-9e.-]{1,8}ms)?",
        fullmatch=True,
    ),
)
"""Names of number formats."""
