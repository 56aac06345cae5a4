"""Pictures in, class names out, from the file alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from model_compression.__main__ import main
from model_compression.commands import predict
from model_compression.deployment import OnnxRuntimeClassifier, write_onnx
from model_compression.evaluation import softmax
from model_compression.images import to_picture
from model_compression.pipelines.reporting.pipeline import STAGES
from model_compression.reporting.recommendation import (
    MODEL_FILE,
    RECOMMENDATION_FILE,
    recommend,
)

LATENCY = ["stage", "batch_size", "repeat", "latency_ms"]


@pytest.fixture
def pictures(tmp_path, tiny_images):
    """Three of the images as files."""
    paths = [tmp_path / f"{place}.png" for place in range(3)]
    for place, path in enumerate(paths):
        to_picture(tiny_images.images[place]).save(path)
    return paths


@pytest.fixture
def run(tmp_path, model):
    def call(*words):
        given = [f"--model={tmp_path / 'model.onnx'}", *map(str, words)]
        return CliRunner().invoke(predict, given)

    return call


def test_a_picture_gets_the_class_that_its_bytes_get(run, model, pictures, tiny_images):
    probabilities = softmax(OnnxRuntimeClassifier(model).logits(tiny_images.images[:3]))
    done = run(*pictures, "--json", "--top=3")
    assert done.exit_code == 0
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["image"] for line in said] == [str(path) for path in pictures]
    for line, expected in zip(said, probabilities, strict=True):
        given = {each["class"]: each["probability"] for each in line["predictions"]}
        assert list(given.values()) == sorted(given.values(), reverse=True)
        assert [given[name] for name in model.classes] == pytest.approx(expected, abs=1e-6)


def test_words_name_the_best_class_and_its_probability(run, model, pictures, tiny_images):
    (probabilities,) = softmax(OnnxRuntimeClassifier(model).logits(tiny_images.images[:1]))
    best = probabilities.argmax()
    expected = f"{pictures[0]}: {model.classes[best]} ({probabilities[best]:.1%})\n"
    assert run(pictures[0]).stdout == expected


def test_a_large_colour_photo_is_brought_to_what_the_file_takes(run, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    assert run(tmp_path / "photo.jpg").exit_code == 0


def test_what_can_not_be_read_is_named_and_the_others_are_classified(run, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    # A chunk that is no chunk, where Pillow raises a SyntaxError.
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(pictures[1].read_bytes()[:33] + b"\0\0\0\4?!?!")
    done = run(broken, damaged, pictures[0], tmp_path / "missing.png")
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{pictures[0]}: ")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        str(broken),
        str(damaged),
        str(tmp_path / "missing.png"),
    ]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "isn't there: run the stage"), (b"x", "Expected an ONNX model")]
)
def test_a_file_that_is_no_deployable_is_refused_by_name(tmp_path, pictures, content, message):
    path = tmp_path / "other.onnx"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(predict, [f"--model={path}", str(pictures[0])])
    assert done.exit_code == 1
    assert message in done.stderr
    assert "other.onnx" in done.stderr


@pytest.fixture
def results(tmp_path, exported):
    """A folder of results that recommends the file, which is not the last stage's."""
    folder = tmp_path / "results"
    stage = folder / "06_models" / "pruned"
    stage.mkdir(parents=True)
    write_onnx(exported, stage / "model.onnx")
    (folder / "08_reporting").mkdir()
    recommendation(folder, {"pruned": {"fingerprint": exported.fingerprint}})
    return folder


def recommendation(folder, evaluations):
    chosen = recommend(evaluations, pd.DataFrame(columns=LATENCY)).as_json()
    (folder / RECOMMENDATION_FILE).write_text(json.dumps(chosen))


def recommended(folder, picture):
    return CliRunner().invoke(predict, [f"--data={folder}", str(picture)])


def test_without_a_name_the_recommended_file_is_asked(results, run, pictures):
    done = recommended(results, pictures[0])
    assert done.exit_code == 0
    assert done.stdout == run(pictures[0]).stdout


def test_a_file_that_was_made_after_it_was_recommended_is_refused(results, pictures):
    recommendation(results, {"pruned": {"fingerprint": "of before"}})
    done = recommended(results, pictures[0])
    assert done.exit_code == 1
    assert "pruned/model.onnx is not the file that" in done.stderr
    assert "--pipeline=compress" in done.stderr


@pytest.mark.parametrize("content", [None, "no JSON", "[1]", '{"stage": "pruned"}'])
def test_without_a_recommendation_it_is_said_how_to_get_one(results, pictures, content):
    source = results / RECOMMENDATION_FILE
    source.unlink()
    if content is not None:
        source.write_text(content)
    done = recommended(results, pictures[0])
    assert done.exit_code == 1
    assert str(source) in done.stderr
    assert "--pipeline=compress, or name a file with --model" in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_the_catalog_keeps_the_files_where_the_command_looks_for_them():
    conf = Path(__file__).parents[2] / "conf" / "base"
    models, reporting = (
        yaml.safe_load((conf / name).read_text())
        for name in ("catalog_06_models.yml", "catalog_08_reporting.yml")
    )
    assert models["{stage}.onnx"]["filepath"] == "${globals:data}/" + MODEL_FILE
    for stage in STAGES:
        expected = "${globals:data}/" + MODEL_FILE.format(stage=stage)
        assert models[f"{stage}.onnx"]["filepath"] == expected
    assert reporting["recommendation"]["filepath"] == "${globals:data}/" + RECOMMENDATION_FILE


def test_the_package_itself_takes_the_command(model, pictures, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(pictures[0]), f"--model={tmp_path / 'model.onnx'}"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"{pictures[0]}: ")
