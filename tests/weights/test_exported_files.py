"""Exported files from outside: none can run code, and damage is said."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mlpmixer
from mlpmixer.deploy.export import ExportOptions, export_model
from mlpmixer.deploy.export_images import photographs
from mlpmixer.errors import MixerError, UsageError

Entries = dict[str, bytes]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=16, num_classes=3, depth=1)
    folder = tmp_path_factory.mktemp("exported")
    check = photographs(model.preprocessing)[:4]
    for format, name in (("torch", "x.pt2"), ("onnx", "x.onnx"), ("openvino", "x.xml")):
        export_model(model, folder / name, ExportOptions(format=format, check=check))
    return folder


def rewritten(source: Path, target: Path, change: Callable[[Entries], None]) -> Path:
    with zipfile.ZipFile(source) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"x/{name}", content)
    return target


def in_graph(change: Callable[[Any], None]) -> Callable[[Entries], None]:
    def changed(entries: Entries) -> None:
        program = json.loads(entries["models/model.json"])
        change(program)
        entries["models/model.json"] = json.dumps(program).encode()

    return changed


def _call_system(program: Any) -> None:
    node = program["graph_module"]["graph"]["nodes"][0]
    node["target"] = "torch.os.system"
    node["inputs"] = [{"name": "", "arg": {"as_string": "touch ran"}, "kind": 1}]


def _map_a_file(program: Any) -> None:
    node = program["graph_module"]["graph"]["nodes"][0]
    node["target"] = "torch.ops.aten.from_file.default"
    node["inputs"] = [
        {"name": "filename", "arg": {"as_string": "victim"}, "kind": 1},
        {"name": "shared", "arg": {"as_bool": True}, "kind": 1},
    ]


def _call(name: str) -> Callable[[Entries], None]:
    def change(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = f"torch.ops.aten.{name}"

    return in_graph(change)


def _evaluate(program: Any) -> None:
    text = json.dumps(program)
    expression = "Symbol('s"
    assert expression in text
    values = program["graph_module"]["graph"]["tensor_values"]
    sizes = next(one["sizes"] for one in values.values() if "as_expr" in one["sizes"][0])
    sizes[0]["as_expr"]["expr_str"] = "__import__('os').system('touch ran')"


def _pickled_weight(entries: Entries) -> None:
    table = json.loads(entries["data/weights/model_weights_config.json"])
    next(iter(table["config"].values()))["use_pickle"] = True
    entries["data/weights/model_weights_config.json"] = json.dumps(table).encode()


def _foreign_type(program: Any) -> None:
    for one in program["graph_module"]["module_call_graph"]:
        if one["signature"]:
            one["signature"]["in_spec"] = '[1, {"type": "collections.namedtuple"}]'


def _metadata(program: Any) -> None:
    program["graph_module"]["graph"]["nodes"][0]["metadata"] = {"source_fn_stack": "a,torch.os"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (in_graph(_call_system), r"calls 'torch\.os\.system'"),
        (in_graph(_map_a_file), r"calls 'torch\.ops\.aten\.from_file\.default'.* change files"),
        (_call("save.default"), r"calls 'torch\.ops\.aten\.save"),
        (_call("resize_.default"), r"calls 'torch\.ops\.aten\.resize_"),
        (_call("set_.source_Tensor"), r"calls 'torch\.ops\.aten\.set_"),
        (_call("add.out"), r"calls 'torch\.ops\.aten\.add\.out"),
        (_call("fill_.nothing"), r"calls 'torch\.ops\.aten\.fill_"),
        (_call("name.upper"), r"calls 'torch\.ops\.aten\.name"),
        (in_graph(_evaluate), 'evaluates "__import__'),
        (in_graph(_foreign_type), "makes a collections.namedtuple"),
        (in_graph(_metadata), "has metadata"),
        (_pickled_weight, "holds pickled objects"),
        (lambda entries: entries.update({"data/sample_inputs/model.pt": b"x"}), "pickled objects"),
        (lambda entries: entries.update({"data/constants/custom_obj_0": b"x"}), "custom_obj_0"),
        (lambda entries: entries.update({"models/other.json": b"{}"}), "other.json"),
    ],
)
def test_a_program_that_could_run_code_is_refused(
    change: Callable[[Entries], None],
    reason: str,
    written: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = rewritten(written / "x.pt2", tmp_path / "evil.pt2", change)
    with pytest.raises(UsageError, match=reason):
        mlpmixer.load(file)
    assert not (tmp_path / "ran").exists()


def test_an_unchanged_archive_is_read(written: Path, tmp_path: Path) -> None:
    file = rewritten(written / "x.pt2", tmp_path / "same.pt2", lambda entries: None)
    assert mlpmixer.load(file).num_classes == 3


@pytest.mark.parametrize("flag", [0x01, 0x20], ids=["encrypted", "of an unknown kind"])
def test_an_archive_that_python_cannot_unpack_is_named(
    flag: int, written: Path, tmp_path: Path
) -> None:
    content = bytearray((written / "x.pt2").read_bytes())
    content[6] |= flag  # of the first entry, and where the directory repeats it
    content[content.index(b"PK\x01\x02") + 8] |= flag
    (tmp_path / "odd.pt2").write_bytes(content)
    with pytest.raises(MixerError, match=r"odd\.pt2 cannot be read"):
        mlpmixer.load(tmp_path / "odd.pt2")


def test_compiled_code_is_run_only_where_it_is_trusted(written: Path, tmp_path: Path) -> None:
    def compiled(entries: Entries) -> None:
        entries["data/aotinductor/model/x.so"] = b"\x7fELF"

    file = rewritten(written / "x.pt2", tmp_path / "native.pt2", compiled)
    with pytest.raises(UsageError, match=r"compiled code.*native\.pt2#trusted"):
        mlpmixer.load(file)
    with pytest.raises(UsageError, match="no weights 'plain'"):
        mlpmixer.load(file, weights="plain")


@pytest.mark.parametrize("name", ["x.onnx", "x.xml", "x.pt2"])
def test_a_file_that_was_cut_off_is_damaged(name: str, written: Path, tmp_path: Path) -> None:
    content = (written / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    if name == "x.xml":
        (tmp_path / "x.bin").write_bytes((written / "x.bin").read_bytes())
    with pytest.raises(MixerError, match="damaged"):
        mlpmixer.load(tmp_path / name)


def test_openvinos_weights_have_to_be_beside(written: Path, tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_bytes((written / "x.xml").read_bytes())
    with pytest.raises(UsageError, match=r"x\.bin, which is not beside it"):
        mlpmixer.load(tmp_path / "x.xml")


@pytest.mark.parametrize("changes", [{"facts": None}, {"options": []}, {"class_names": "abc"}])
def test_a_description_of_the_wrong_types_is_damage(
    changes: dict[str, object], written: Path, tmp_path: Path
) -> None:
    def described(entries: Entries) -> None:
        said = {**json.loads(entries["extra/mlpmixer.json"]), **changes}
        entries["extra/mlpmixer.json"] = json.dumps(said).encode()

    file = rewritten(written / "x.pt2", tmp_path / "spoilt.pt2", described)
    with pytest.raises(MixerError, match=r"spoilt\.pt2 is damaged"):
        mlpmixer.load(file)


def test_files_of_others_lack_the_description(written: Path, tmp_path: Path) -> None:
    import onnx

    graph = onnx.load(written / "x.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "foreign.onnx")
    with pytest.raises(UsageError, match="not written by `mixer export`"):
        mlpmixer.load(tmp_path / "foreign.onnx")
    onnx.helper.set_model_props(graph, {"mlpmixer": '{"name": 3}'})
    onnx.save(graph, tmp_path / "spoilt.onnx")
    with pytest.raises(MixerError, match="damaged"):
        mlpmixer.load(tmp_path / "spoilt.onnx")
