import logging
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id

from model_compression.reporting import render_model_card
from model_compression.reporting.model_card import markdown
from model_compression.reporting.recommendation import recommend

DOCUMENTED = {
    "license",
    "library_name",
    "pipeline_tag",
    "tags",
    "datasets",
    "metrics",
    "model-index",
}
"""Fields that the hub's model-card format (``modelcard.md``) has, of which the card uses these."""


def card(run, **changes):
    options = {
        "classes": list(run.confusions["teacher"].columns),
        "input_shape": (1, 28, 28),
        "provenance": run.provenance,
        "licence": "mit",
    }
    recommendation = changes.pop("recommendation", recommend(run.evaluations, run.latency))
    return render_model_card(run.evaluations, run.latency, recommendation, **options | changes)


def front_matter(text):
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_hugging_faces_own_code_reads_the_card_and_its_results(run, tmp_path, caplog):
    path = tmp_path / "README.md"
    path.write_text(card(run), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        data = ModelCard.load(path).data
    assert not caplog.records
    assert (data.license, data.library_name) == ("mit", "onnx")
    assert (data.pipeline_tag, data.datasets) == ("image-classification", ["fashion-mnist"])
    assert data.metrics == ["accuracy", "f1"]
    assert data.model_name == "resnet8 quantized"
    accuracy, f1 = data.eval_results
    assert (accuracy.task_type, accuracy.dataset_type) == ("image-classification", "fashion-mnist")
    assert (accuracy.dataset_name, accuracy.dataset_split) == ("Fashion-MNIST", "test")
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", pytest.approx(0.919))
    assert (f1.metric_type, f1.metric_value) == ("f1", pytest.approx(0.9183))


def test_the_front_matter_has_documented_fields_of_documented_kinds(run):
    front, _ = front_matter(card(run))
    assert set(front) == DOCUMENTED
    for key in ("tags", "datasets", "metrics"):
        assert front[key]
        assert all(isinstance(item, str) for item in front[key])
    for dataset in front["datasets"]:
        validate_repo_id(dataset)
    # Written back by their code, nothing is lost.
    assert ModelCard(card(run)).data.to_dict() == front


def test_the_images_can_be_named_as_on_the_hub(run):
    data = ModelCard(card(run, dataset_id="zalando-datasets/fashion_mnist")).data
    assert data.datasets == ["zalando-datasets/fashion_mnist"]
    assert {result.dataset_type for result in data.eval_results} == set(data.datasets)
    assert {result.dataset_name for result in data.eval_results} == {"Fashion-MNIST"}


@pytest.mark.parametrize("name", ["A" * 200, "-- x --", "\u5199\u771f", "a/b..c"])
def test_whatever_the_images_are_called_their_identifier_is_one(run, name):
    (dataset,) = ModelCard(card(run, provenance={"data": name})).data.datasets
    validate_repo_id(dataset)


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
    advice = recommend(run.evaluations, run.latency).advice
    assert advice.startswith("Ship the quantized file.")
    assert f"\n\n{markdown(advice)}\n\n" in card(run)


def test_the_card_is_of_the_recommended_file_and_not_of_the_last(run):
    run.latency.loc[run.latency["stage"] == "quantized", "latency_ms"] *= 10
    text = card(run)
    data = ModelCard(text).data
    assert data.model_name == "resnet8 pruned"
    assert data.eval_results[0].metric_value == pytest.approx(0.92)
    assert "pruned" in data.tags
    assert "quantized" not in data.tags
    _, body = front_matter(text)
    assert body.startswith("\n# resnet8 pruned\n")
    assert "The pruned resnet8 is 6.65" in body
    assert "Ship the pruned file." in body
    assert "`model.onnx`, the pruned stage's (166\u00a0kB)" in body
    assert f"Fingerprint: `{run.evaluations['pruned']['fingerprint']}`" in body


def test_a_recommendation_of_a_stage_that_was_not_evaluated_is_refused(run):
    other = replace(recommend(run.evaluations, run.latency), stage="smaller")
    with pytest.raises(ValueError, match="The verdict is to be on smaller"):
        card(run, recommendation=other)


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
