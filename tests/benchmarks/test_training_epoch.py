"""An epoch of each way, on a few images."""

import pytest

FEW = ("--model=net", "--images=128", "--batch=32", "--rounds=1", "--workers=0")


def test_each_way_trains_the_same_steps_and_is_compared_with_two_others(run):
    table, said = run("training_epoch", *FEW)
    table = table.set_index("way")
    assert list(table.index) == ["bare", "product", "dataloader"]
    assert (table["seconds"] > 0).all()
    assert table.loc["bare", "to_bare"] == table.loc["product", "to_product"] == 1
    ratio = table.loc["dataloader", "seconds"] / table.loc["product", "seconds"]
    assert table.loc["dataloader", "to_product"] == pytest.approx(ratio, rel=0.01)
    assert "| product | " in said


def test_with_a_teacher_all_ways_distil(run):
    table, said = run("training_epoch", *FEW, "--teacher=resnet8", "--ways=product,dataloader")
    assert list(table["way"]) == ["product", "dataloader"]
    assert set(table["teacher"]) == {"resnet8"}
    assert set(table["to_bare"]) == {""}
    assert "net under resnet8" in said


def test_the_usual_way_asks_the_teacher_about_every_batch(load, monkeypatch):
    script = load("training_epoch")
    recipe = script.Recipe("net", "resnet8", 128, 32, 1, "float32")
    asked = []
    teacher = recipe.asked()
    teacher.register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    monkeypatch.setattr(recipe, "asked", lambda: teacher)
    recipe.usual(0)()
    assert asked == [32] * recipe.steps


def test_lightning_runs_an_epoch_a_round(load, tmp_path):
    pytest.importorskip("model_compression.torchvision_shim").import_torchvision()
    pytest.importorskip("lightning.pytorch", reason="Lightning is for the benchmark only")
    script = load("training_epoch")
    recipe = script.Recipe("net", None, 128, 32, 1, "float32")
    epoch = recipe.lightning(0, tmp_path)
    first, second = epoch(), epoch()
    assert min(first, second) > 0
    assert first != second, "the second was not run"


def test_a_way_that_is_unknown_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("training_epoch", "--ways=bare,keras")
    assert "expected some of bare, product, dataloader, lightning" in capsys.readouterr().err
