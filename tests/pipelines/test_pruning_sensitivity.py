"""What the student's layers bear: the table, the allocation, and a run that takes it."""

from pathlib import Path

import pandas as pd
import plotly.io
import pytest
import torch
import yaml
from kedro.io import AbstractDataset
from pydantic import ValidationError

from model_compression.evaluation import count_macs, count_parameters
from model_compression.images import read_image_set
from model_compression.images.normalization import compute_normalization
from model_compression.models import Checkpoint, ModelSettings, build_model, read_checkpoint
from model_compression.models.checkpoint import write_checkpoint
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.pruning_sensitivity.nodes import allocate_ratios, draw, scan
from model_compression.pipelines.pruning_sensitivity.parameters import SensitivityParameters
from model_compression.training import CrossEntropy, Trainee, TrainingSettings, fit

CONF = Path(__file__).parents[2] / "conf"
RATIOS = [0.25, 0.5, 0.75]
TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "optimizer": {"name": "sgd", "learning_rate": 0.05},
    "augmentation": None,
    "precision": "float32",
}


def pruning(**settings: object) -> PruningParameters:
    return PruningParameters.model_validate(
        {"pruning": settings, "distillation": {"method": "none"}, "training": TRAINING}
    )


def channels(**settings: object) -> PruningParameters:
    return pruning(**{"method": "channels", "target": "macs", "round_to": 4, **settings})


PARAMETERS = SensitivityParameters(ratios=RATIOS, images=60)


@pytest.fixture
def student(tiny_images, tiny_normalization) -> Checkpoint:
    """A small network that has learned the tiny images."""
    spec = ModelSettings(name="resnet8", options={"width": 8}).spec((1, 12, 12), 3)
    start = Checkpoint(spec, {}, "student", "s1", tiny_images.classes, tiny_normalization)

    def prepare() -> Trainee:
        torch.manual_seed(0)
        return Trainee(build_model(spec), CrossEntropy())

    settings = TrainingSettings.model_validate(TRAINING)
    for state in fit(prepare, start, tiny_images, tiny_images, settings):
        last = state
    return last.best


@pytest.mark.parametrize(
    "parameters",
    [
        channels(ratio=0.4),
        channels(ratio=0.3, target="channels", importance="taylor", scope="layer"),
        channels(ratio=0.4, target="parameters", excluded=["stem"]),
        pruning(method="weights", sparsity=0.6),
        pruning(method="weights", sparsity=0.6, importance="wanda", scope="row"),
    ],
)
def test_the_allocation_meets_the_target_and_pruning_takes_it(student, tiny_images, parameters):
    images = (tiny_images, tiny_images, student)
    table = scan(*images, parameters, PARAMETERS)
    allocation, comparison = allocate_ratios(*images, table, parameters, PARAMETERS)
    rows = comparison.set_index("pruning")
    assert list(rows.index) == ["whole", "configured", "allocated"]
    assert rows.loc["whole", ["macs_left", "nonzero_parameters_left"]].tolist() == [1, 1]

    settings = parameters.pruning
    merged = settings.model_dump() | allocation["pruning"]["pruning"]
    again = pruning(**merged)
    _, reached = allocate_ratios(*images, table, again, PARAMETERS)
    reached = reached.set_index("pruning")
    # What is configured now is what was allocated.
    assert reached.loc["configured"].drop("latency_left").tolist() == pytest.approx(
        rows.loc["allocated"].drop("latency_left").tolist()
    )
    if settings.method == "weights":
        assert rows.loc["allocated", "nonzero_parameters_left"] <= 1 - settings.sparsity + 0.1
    elif settings.target == "macs":
        assert rows.loc["allocated", "macs_left"] <= 1 - settings.ratio
    elif settings.target == "parameters":
        assert rows.loc["allocated", "nonzero_parameters_left"] <= 1 - settings.ratio + 0.02


def test_the_allocation_spares_what_is_needed(student, tiny_images):
    """At the same cost, before any tuning, it loses less than the same share of every layer."""
    images = (tiny_images, tiny_images, student)
    parameters = pruning(method="weights", sparsity=0.75, scope="layer")
    some = SensitivityParameters(ratios=[0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95], images=None)
    table = scan(*images, parameters, some)
    _, comparison = allocate_ratios(*images, table, parameters, some)
    loss = comparison.set_index("pruning")["loss"]
    assert loss["whole"] < loss["allocated"] < loss["configured"]


def test_a_latency_is_met_by_the_clock(student, tiny_images, monkeypatch):
    nodes = "model_compression.pipelines.pruning_sensitivity.nodes.relative_latency"
    whole = count_parameters(student.build())[0]
    monkeypatch.setattr(nodes, lambda _: lambda each: count_parameters(each)[0] / whole)
    images = (tiny_images, tiny_images, student)
    parameters = channels(ratio=0.5, target="latency")
    table = scan(*images, parameters, PARAMETERS)
    _, comparison = allocate_ratios(*images, table, parameters, PARAMETERS)
    assert comparison.set_index("pruning").loc["allocated", "latency_left"] <= 0.5


def test_sensitivities_of_another_network_or_of_other_layers_are_refused(student, tiny_images):
    images = (tiny_images, tiny_images, student)
    table = scan(*images, channels(excluded=["stem"]), PARAMETERS)
    with pytest.raises(ValueError, match="other layers than are pruned now: run"):
        allocate_ratios(*images, table, channels(), PARAMETERS)
    another = table.assign(network="retrained")
    with pytest.raises(ValueError, match=f"of retrained, the student is {student.fingerprint}"):
        allocate_ratios(*images, another, channels(excluded=["stem"]), PARAMETERS)


def test_a_table_says_which_network_it_is_of(student, tiny_images):
    table = scan(tiny_images, tiny_images, student, channels(), PARAMETERS)
    assert set(table["network"]) == {student.fingerprint}


@pytest.mark.parametrize("study", ["pruning_sensitivity", "quantization_sensitivity"])
def test_the_table_comes_back_from_its_file_as_it_was(tmp_path, study):
    """Layers and networks may be called by numbers; the loss of a broken network is none."""
    entry = yaml.safe_load((CONF / "base" / "catalog_08_reporting.yml").read_text())
    path = {"filepath": str(tmp_path / "table.csv")}
    dataset = AbstractDataset.from_config("table", entry[f"{study}.table"] | path)
    settings = entry[f"{study}.known_table"]
    assert settings["dataset"]["filepath"] == entry[f"{study}.table"]["filepath"]
    settings["dataset"] |= path
    known = AbstractDataset.from_config("known", settings)
    assert known.load() is None
    table = pd.DataFrame(
        {
            "layer": ["0", "1.10", "nan", ""],
            "removed": [1 / 3, 0.5, 0.1, 0.2],
            "loss": [0.1, float("nan"), 0.3, 0.4],
            "loss_increase": [0.0, float("nan"), 0.2, 0.3],
            "network": ["12345678901234567890123456789012", "1e5", "nan", ""],
        }
    )
    dataset.save(table)
    pd.testing.assert_frame_equal(dataset.load(), table)
    pd.testing.assert_frame_equal(known.load(), table)


def test_the_map_has_a_row_a_layer(student, tiny_images):
    table = scan(tiny_images, tiny_images, student, channels(), PARAMETERS)
    (heatmap,) = draw(table).data
    assert list(heatmap.y) == list(dict.fromkeys(table["layer"]))
    assert list(heatmap.x) == ["25%", "50%", "75%"]


@pytest.mark.parametrize("ratios", [[], [0.5, 0.5], [0.5, 0.2], [0.0], [1.0]])
def test_ratios_are_ascending_shares(ratios):
    with pytest.raises(ValidationError):
        SensitivityParameters(ratios=ratios)


def test_kedro_measures_allocates_and_prunes_by_what_was_allocated(make_project, run):
    project: Path = make_project("project")
    run(project, "data_preparation")
    data = project / "data" / "smoke"
    train = read_image_set(data / "05_model_input" / "train")
    spec = ModelSettings(name="resnet8").spec(train.image_shape, len(train.classes))
    torch.manual_seed(0)
    weights = build_model(spec).state_dict()
    place = data / "06_models"
    for stage in ("teacher", "student"):
        (place / stage).mkdir(parents=True)
        checkpoint = Checkpoint(
            spec, weights, stage, stage, train.classes, compute_normalization(train)
        )
        write_checkpoint(checkpoint, place / stage / "model.safetensors")

    run(project, "pruning_sensitivity", pruning={"pruning": {"target": "macs", "ratio": 0.4}})
    folder = data / "08_reporting" / "pruning_sensitivity"
    table = pd.read_csv(folder / "sensitivity.csv")
    assert {"layer", "ratio", "removed", "accuracy", "loss_increase"} <= set(table.columns)
    assert (
        len(plotly.io.read_json(folder.parent / "figures" / "pruning_sensitivity.json").data) == 1
    )

    # As a user would: its lines become a part of the configuration.
    allocation = yaml.safe_load((folder / "parameters_allocation.yml").read_text())
    configuration = project / "conf" / "smoke" / "parameters.yml"
    smoke = yaml.safe_load(configuration.read_text())
    smoke["pruning"] |= allocation["pruning"]
    configuration.write_text(yaml.safe_dump(smoke))
    run(project, "pruning", to_nodes=["pruned.select_best"])
    pruned = read_checkpoint(place / "pruned" / "model.safetensors").build()
    macs_left = count_macs(pruned, spec.input_shape) / count_macs(
        build_model(spec), spec.input_shape
    )
    comparison = pd.read_csv(folder / "comparison.csv").set_index("pruning")
    assert macs_left == pytest.approx(comparison.loc["allocated", "macs_left"])
    assert macs_left <= 0.6
    assert list(allocation["pruning"]["pruning"]["ratios"]) == list(dict.fromkeys(table["layer"]))
