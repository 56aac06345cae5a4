import pytest
import yaml

from model_compression.reporting import render_model_card
from model_compression.reporting.model_card import markdown


def card(run, **changes):
    options = {
        "classes": list(run.confusions["teacher"].columns),
        "input_shape": (1, 28, 28),
        "provenance": run.provenance,
        "licence": "mit",
    }
    return render_model_card(run.evaluations, run.latency, **options | changes)


def front_matter(text):
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_front_matter_is_what_hugging_face_reads(run):
    front, _ = front_matter(card(run))
    assert front["license"] == "mit"
    assert front["pipeline_tag"] == "image-classification"
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"] == {"name": "Fashion-MNIST", "type": "fashion-mnist"}
    assert result["metrics"][0]["value"] == pytest.approx(0.919)


def test_the_card_has_verdict_table_and_contract(run):
    _, body = front_matter(card(run))
    assert "23.6\u00d7 smaller than the teacher" in body
    rows = [line for line in body.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in rows[:6]}) == 1
    assert "(N, 1, 28, 28)" in body
    assert "T-shirt/top, Trouser, Pullover" in body
    assert "make compress" in body


def test_warnings_are_on_the_card(run):
    run.evaluations["quantized"]["fused_layers"] = 7
    assert "> Only 7 of the 10 quantizable layers" in card(run)


def test_the_card_says_which_file_to_ship(run):
    assert "Ship the quantized file." in card(run)
    assert "The file to ship is that of" not in card(run)
    run.latency.loc[run.latency["stage"] == "quantized", "latency_ms"] *= 10
    slower = card(run)
    assert "Ship the pruned file." in slower
    assert "file of the stage quantized. The file to ship is that of pruned:" in slower


def test_what_is_not_known_is_left_out(run):
    del run.evaluations["quantized"]["macro_f1"]
    run.evaluations["quantized"] |= {"fingerprint": None, "runtime": None}
    front, body = front_matter(card(run, licence=None, provenance={}))
    assert "license" not in front
    assert front["metrics"] == ["accuracy"]
    assert "To reproduce" not in body
    assert "Fingerprint" not in body
    assert "the training data" in body


def test_hostile_names_neither_break_the_table_nor_the_front_matter(run):
    name = "a|b\n---\n<script>"
    run.evaluations["quantized"]["architecture"] = name
    front, body = front_matter(card(run, classes=[name], provenance={"data": name}))
    assert "a|b --- <script>" in front["tags"]
    assert "<script>" not in body.replace("\\<script\\>", "")
    assert "a|b" not in body


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a|b", r"a\|b"), ("<i>", r"\<i\>"), ("x\n# y", r"x \# y"), ("&", "&amp;")],
)
def test_markdown_is_escaped(text, escaped):
    assert markdown(text) == escaped
