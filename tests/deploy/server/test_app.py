"""The HTTP interface: right answers, and every wrong request told why."""

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flowers import NAMES, Serve, write_model
from PIL import Image

import mlpmixer
from mlpmixer.deploy.predictor import Predictor

PREDICT = "/v1/models/flowers/predict"


@pytest.fixture(scope="module")
def predictor(model_file: Path) -> Predictor:
    return Predictor.load(model_file, device="cpu", engine="eager")


def test_a_raw_image_is_answered_as_the_predictor_answers(
    serve: Serve, pictures: list[bytes], predictor: Predictor
) -> None:
    answer = serve().post(PREDICT, content=pictures[0], headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    (picture,) = answer.json()["pictures"]
    (expected,) = predictor([pictures[0]], k=3)
    assert [one["label"] for one in picture["classes"]] == [one.label for one in expected]
    for one, other in zip(picture["classes"], expected, strict=True):
        assert one["probability"] == pytest.approx(other.probability, abs=1e-6)
    assert picture["error"] is None


def test_files_of_a_form_are_answered_in_their_order(
    serve: Serve, pictures: list[bytes], predictor: Predictor
) -> None:
    files = [("files", (f"{n}.png", one)) for n, one in enumerate(pictures)]
    answer = serve().post(PREDICT, files=files, params={"k": 1}).json()
    assert [one["name"] for one in answer["pictures"]] == [f"{n}.png" for n in range(8)]
    expected = [best[0].label for best in predictor(pictures, k=1)]
    assert [one["classes"][0]["label"] for one in answer["pictures"]] == expected


def test_an_unreadable_file_is_told_apart_from_the_good_ones(
    serve: Serve, pictures: list[bytes]
) -> None:
    files = [("files", ("good.png", pictures[0])), ("files", ("bad.png", pictures[0][:60]))]
    answer = serve().post(PREDICT, files=files)
    assert answer.status_code == 200
    good, bad = answer.json()["pictures"]
    assert good["error"] is None
    assert bad["classes"] is None
    assert bad["error"].startswith("cannot read bad.png: ")


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, "png")
    return stream.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
CARDS = (b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 2", b"NAXIS1  = 8", b"NAXIS2  = 8", b"END")
FITS = b"".join(card.ljust(80) for card in CARDS).ljust(2880) + bytes(2880)


@pytest.mark.parametrize(
    ("status", "said", "request_of"),
    [
        (400, "the body is empty", lambda p: {"content": b""}),
        (422, "not an image of a known format", lambda p: {"content": b"no picture"}),
        (422, "not an image of a known format", lambda p: {"content": EPS}),
        (422, "not an image of a known format", lambda p: {"content": FITS}),
        (422, "truncated", lambda p: {"content": p[0][: len(p[0]) // 2]}),
        (422, "megapixels (3000x3000): at most 5", lambda p: {"content": png(3000, 3000)}),
        (422, "too many pixels: at most 5 million", lambda p: {"content": png(20_000, 10_000)}),
        (413, "larger than 0.1 MB", lambda p: {"content": bytes(100_001)}),
        (413, "larger than 0.1 MB", lambda p: {"content": iter([bytes(60_000)] * 3)}),
        (415, "text/plain holds no pictures", lambda p: {"content": b"x", "type": "text/plain"}),
        (400, "no file", lambda p: {"data": {"files": "text"}, "files": {}}),
        (400, "boundary", lambda p: {"content": b"x", "type": "multipart/form-data"}),
        (400, "Too many files", lambda p: {"files": [("files", ("a", p[0]))] * 5}),
        (400, "k = 4: the model has 3 classes", lambda p: {"content": p[0], "k": 4}),
        (400, "k = 0", lambda p: {"content": p[0], "k": 0}),
        (400, "k: ", lambda p: {"content": p[0], "k": "many"}),
    ],
)
def test_a_wrong_request_is_told_why(
    status: int,
    said: str,
    request_of: Callable[[list[bytes]], dict[str, object]],
    serve: Serve,
    pictures: list[bytes],
) -> None:
    client = serve(body_megabytes=0.1, megapixels=5, files=4)
    options = request_of(pictures)
    headers = {"Content-Type": str(options.pop("type"))} if "type" in options else None
    params = {"k": options.pop("k")} if "k" in options else None
    if options.get("files") == {}:
        options = {"files": [("files", (None, "text"))]}
    answer = client.post(PREDICT, headers=headers, params=params, **options)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert said in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.post(PREDICT, content=pictures[0]).status_code == 200


def test_an_unknown_model_or_path_is_named(serve: Serve, pictures: list[bytes]) -> None:
    client = serve()
    answer = client.post("/v1/models/birds/predict", content=pictures[0])
    assert answer.status_code == 404
    assert "There are: flowers" in answer.json()["detail"]
    assert client.get("/nothing").status_code == 404
    assert client.get(PREDICT).status_code == 405


def test_models_are_listed_with_their_classes(serve: Serve) -> None:
    (model,) = serve().get("/v1/models").json()
    assert model["labels"] == list(NAMES)
    assert (model["architecture"], model["image_size"]) == ("mixer_nano", [16, 16])


def test_a_model_without_names_answers_with_numbers(
    serve: Serve, pictures: list[bytes], tmp_path: Path
) -> None:
    client = serve(source=write_model(tmp_path / "plain.safetensors", names=None))
    (model,) = client.get("/v1/models").json()
    assert model["named"] is False
    (picture,) = client.post(PREDICT, content=pictures[0]).json()["pictures"]
    assert all(one["label"] == str(one["index"]) for one in picture["classes"])


@pytest.mark.parametrize("sent", [None, "wrong", "Bearer wrong", "Bearer "])
def test_without_the_key_nothing_is_answered_but_health(
    sent: str | None, serve: Serve, pictures: list[bytes]
) -> None:
    client = serve(api_key="secret")
    headers = {} if sent is None else {"Authorization": sent}
    for answer in (
        client.post(PREDICT, content=pictures[0], headers=headers),
        client.get("/v1/models", headers=headers),
        client.post("/v1/models/nobody/predict?k=many", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/healthz").status_code == 200
    good = {"Authorization": "Bearer secret"}
    assert client.post(PREDICT, content=pictures[0], headers=good).status_code == 200


def test_a_key_may_have_any_letters(serve: Serve) -> None:
    client = serve(api_key="clé-ключ")
    for sent, status in (("clé-ключ", 200), ("clé", 401)):
        headers = {"Authorization": f"Bearer {sent}".encode()}
        assert client.get("/v1/models", headers=headers).status_code == status


def test_measures_count_requests_and_batches(serve: Serve, pictures: list[bytes]) -> None:
    client = serve()
    client.post(PREDICT, content=pictures[0])
    client.post(PREDICT, content=b"no picture")
    said = client.get("/metrics").text
    assert 'mixer_requests_total{model="flowers",status="200"} 1.0' in said
    assert 'mixer_requests_total{model="flowers",status="422"} 1.0' in said
    assert 'mixer_batch_pictures_sum{model="flowers"} 1.0' in said
    assert 'mixer_queue_pictures{model="flowers"} 0.0' in said
    assert client.get("/readyz").json() == {"models": ["flowers"]}


def test_the_log_has_facts_and_nothing_of_the_picture(
    serve: Serve, pictures: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    from mlpmixer.deploy.server.json_log import JsonLines

    with caplog.at_level(logging.INFO, logger="mlpmixer.server"):
        serve().post(PREDICT, files=[("files", ("secret-name.png", pictures[0]))])
    lines = [JsonLines().format(record) for record in caplog.records]
    (line,) = [json.loads(one) for one in lines if '"request"' in one]
    assert (line["path"], line["status"], line["level"]) == (PREDICT, 200, "info")
    assert "secret-name" not in "".join(lines)


def test_a_file_name_is_only_repeated(
    serve: Serve, pictures: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "../../etc/pass\nwd" + "x" * 500
    answer = serve().post(PREDICT, files=[("files", (name, pictures[0]))]).json()
    assert len(answer["pictures"][0]["name"]) <= 200
    assert "\n" not in answer["pictures"][0]["name"]
    assert list(tmp_path.iterdir()) == []


def test_a_large_upload_stays_in_memory(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    Image.fromarray(noise).save(stream, "png")
    assert len(stream.getvalue()) > 2 << 20
    answer = serve().post(PREDICT, files=[("files", ("large.png", stream.getvalue()))])
    assert answer.status_code == 200


def test_openapi_describes_requests_answers_and_errors(serve: Serve) -> None:
    client = serve()
    described = client.get("/openapi.json").json()["paths"]["/v1/models/{name}/predict"]["post"]
    assert set(described["requestBody"]["content"]) >= {"image/*", "multipart/form-data"}
    assert {"200", "400", "413", "503"} <= set(described["responses"])
    assert described["responses"]["200"]["content"]["application/json"]["example"]["pictures"]
    assert client.get("/docs").status_code == 404


@pytest.mark.parametrize(
    ("status", "named", "request_of"),
    [
        (400, "too many files", lambda p: {"files": [("files", ("a", p[0]))] * 3}),
        (413, "body is too large", lambda p: {"content": bytes(200_000)}),
        (422, "too many pixels", lambda p: {"content": png(3000, 3000)}),
    ],
)
def test_openapi_describes_each_limit_by_the_status_that_it_is_answered_by(
    status: int,
    named: str,
    request_of: Callable[[list[bytes]], dict[str, Any]],
    serve: Serve,
    pictures: list[bytes],
) -> None:
    client = serve(files=2, body_megabytes=0.1, megapixels=5)
    assert client.post(PREDICT, **request_of(pictures)).status_code == status
    described = client.get("/openapi.json").json()["paths"]["/v1/models/{name}/predict"]["post"]
    told = {one: answer["description"] for one, answer in described["responses"].items()}
    assert [one for one, text in told.items() if named in text] == [str(status)]


def test_an_explanation_covers_the_part_that_the_model_saw(
    serve: Serve, pictures: list[bytes], predictor: Predictor
) -> None:
    answer = serve().post("/v1/models/flowers/explain", content=pictures[0])
    assert answer.status_code == 200
    found = answer.json()
    (expected,) = predictor([pictures[0]], k=1)
    assert (found["label"], found["index"]) == (expected[0].label, expected[0].index)
    assert np.shape(found["map"]) == predictor.model.patch_grid
    left, top, right, bottom = found["box"]  # seven eighths of the largest square of 40 x 30
    assert (right - left) * 40 == pytest.approx(30 * 7 / 8)
    assert (bottom - top) * 30 == pytest.approx(30 * 7 / 8)
    assert (left + right, top + bottom) == pytest.approx((1, 1))


def test_an_explanation_of_a_broken_picture_says_why(serve: Serve) -> None:
    answer = serve().post("/v1/models/flowers/explain", content=b"no picture")
    assert answer.status_code == 422
    assert "not an image" in answer.json()["detail"]


def test_learned_weights_are_a_picture_of_the_first_blocks(serve: Serve) -> None:
    client = serve()
    (model,) = client.get("/v1/models").json()
    assert model["weight_pictures"] == 1
    answer = client.get("/v1/models/flowers/weights/0")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert max(picture.size) <= 280
        assert len(picture.convert("RGB").getcolors(1 << 16)) > 10
    for wrong, status in (("1", 404), ("-1", 404), ("first", 400)):
        assert client.get(f"/v1/models/flowers/weights/{wrong}").status_code == status


def test_weights_need_the_key_too(serve: Serve) -> None:
    assert serve(api_key="secret").get("/v1/models/flowers/weights/0").status_code == 401


def test_a_model_without_token_mixing_shows_no_weights(serve: Serve, tmp_path: Path) -> None:
    vit = mlpmixer.create_model("vit_nano", image_size=32, num_classes=3, depth=1)
    vit.save(tmp_path / "vit.safetensors", NAMES)
    client = serve(source=tmp_path / "vit.safetensors")
    (model,) = client.get("/v1/models").json()
    assert model["weight_pictures"] == 0
    assert client.get("/v1/models/flowers/weights/0").status_code == 404


def test_a_run_is_described_with_what_its_evaluation_found(
    serve: Serve, model_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "flowers"
    run.mkdir()
    (run / "model.safetensors").write_bytes(model_file.read_bytes())
    measured = {"top1": 0.9, "expected_calibration_error": 0.03, "images": 100}
    (run / "evaluation.json").write_text(json.dumps({**measured, "split": "test"}))
    (model,) = serve(source=run).get("/v1/models").json()
    assert (model["accuracy"], model["calibration_error"], model["images"]) == (0.9, 0.03, 100)
    assert model["explains"] is True
    (alone,) = serve().get("/v1/models").json()
    assert alone["accuracy"] is None


@pytest.mark.parametrize("written", ["[1]", "7", '"text"', '{"top1": NaN, "images": "many"}', "{"])
def test_an_evaluation_that_says_nothing_is_passed_over(
    serve: Serve, model_file: Path, tmp_path: Path, written: str
) -> None:
    run = tmp_path / "flowers"
    run.mkdir()
    (run / "model.safetensors").write_bytes(model_file.read_bytes())
    (run / "evaluation.json").write_text(written)
    (model,) = serve(source=run).get("/v1/models").json()
    assert (model["accuracy"], model["calibration_error"], model["images"]) == (None, None, None)
