"""What a file is that was taken for weights and holds none, and what to do about it."""

import json
from collections.abc import Sequence
from pathlib import Path

PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z"}
"""How packed files begin."""
FOREIGN = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, such as Keras writes",
    b"\x93NUMPY": "a single array of NumPy",
    b"GGUF": "a GGUF file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF document",
}
"""How files of other kinds begin."""
BY_SUFFIX = {
    ".msgpack": "Flax's msgpack form",
    ".index": "a part of a checkpoint of TensorFlow",
    ".pb": "a graph of TensorFlow",
    ".onnx": "an ONNX graph",
}
"""Files whose first bytes say little."""
READ = "Read are .safetensors, .npz, and what torch.save writes (.pth, .pt, .bin, .ckpt)."


def what_it_is(path: Path) -> str | None:
    """Return what a file is that holds no weights, with the remedy; None where that is unknown.

    It is judged by its first bytes, not by its name.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        return "is empty. Download or copy it again."
    if not start.strip(b"\0"):
        return "begins with zeros: it was not copied in full. Download or copy it again."
    for signature, kind in PACKED.items():
        if start.startswith(signature):
            return f"is packed ({kind}): unpack it and give the file inside."
    if start[257:262] == b"ustar":
        return "is a tar archive: unpack it and give the file inside."
    for signature, kind in FOREIGN.items():
        if start.startswith(signature):
            return f"is {kind}, no weights of a layout that is read here. {READ}"
    if start[4:8] == b"TFL3":
        return f"is a TensorFlow Lite model, which is not read. {READ}"
    if path.suffix in BY_SUFFIX:
        return f"is taken for {BY_SUFFIX[path.suffix]}, which is not read. {READ}"
    if ".data-0" in path.name:
        return f"is taken for {BY_SUFFIX['.index']}, which is not read. {READ}"
    return _what_text(start)


def what_archive(names: Sequence[str]) -> str:
    """Return what a zip archive is, by the names in it, that holds no tensors to be read."""
    if any(name.endswith("constants.pkl") for name in names):
        return (
            "is a TorchScript program, and code in files is never run. Save the weights alone "
            "where it was made: torch.save(model.state_dict(), ...)."
        )
    inside = [name for name in names if name.endswith((".safetensors", ".npz", ".pth", ".pt"))]
    if inside:
        return f"is a zip archive: unpack it and give {inside[0]!r} inside."
    return f"is a zip archive that holds no weights. {READ}"


def _what_text(start: bytes) -> str | None:
    try:
        text = start.decode("utf-8").lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # not a letter that the 4096 bytes cut in two
            return None
        text = start[: error.start].decode("utf-8")
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        return None
    if text.startswith("version https://git-lfs.github.com/"):
        return (
            "is a pointer to a large file, not the file: run `git lfs pull` in its repository, or "
            "download the file itself."
        )
    if text[:200].lower().startswith(("<!doctype html", "<html", "<?xml", "<head")):
        return (
            "is a web page, not weights: the address led to a page about the file, or to a login. "
            "Download the file itself."
        )
    if text.startswith(("{", "[")):
        return f"is JSON, not weights{_reason(text)}. Download the file itself."
    line = text.splitlines()[0][:60] if text else ""
    return f"is text, not weights: it begins {line!r}. {READ}"


def _reason(text: str) -> str:
    """Return what an answer in JSON gives as its error, ready to be appended."""
    try:
        content = json.loads(text)
    except ValueError:
        return ""
    said = content.get("error", content.get("message")) if isinstance(content, dict) else None
    return f": it says {said[:80]!r}" if isinstance(said, str) else ""
