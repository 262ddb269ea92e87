"""Damages files as a failing disk, a truncated download or an attacker would."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

PIECES = (b"", b"\0", b"\xff" * 4, b"\0" * 64, b"\r\n", b'"', b",", b"../", b"\x1b]0;x\x07", b"<script>", b"PK\x03\x04")


@st.composite
def mutated(draw: st.DrawFn, wholes: Sequence[bytes], most: int = 4) -> bytes:
    """One of `wholes` with one to `most` places overwritten, cut out, doubled, or truncated."""
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, most))):
        # Headers are short and at the ends, so half of all places are drawn there.
        near = draw(st.integers(0, min(len(content), 64)))
        start = draw(st.sampled_from((near, len(content) - near)) | st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 16)))
        match draw(st.sampled_from(("put", "flip", "cut", "double", "end"))):
            case "put":
                content[start:end] = draw(st.sampled_from(PIECES) | st.binary(max_size=8))
            case "flip" if start < len(content):
                content[start] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[start:end]
            case "double":
                content[start:start] = content[start:end] * draw(st.integers(1, 3))
            case "end":
                del content[start:]
    return bytes(content)


def refusal(kind: type[Exception], action: Callable[[], object]) -> str | None:
    """The message of an error of this kind that the action raises, or None. Other errors propagate."""
    try:
        action()
    except kind as error:
        return str(error) or "no reason"
    return None
