import subprocess

import pytest

from model_compression.machine import processor
from model_compression.reporting.provenance import command, commit, gather_provenance


def test_command_can_be_typed_again(monkeypatch):
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    assert command(["/somewhere/bin/kedro", "run", "--params", "a b=1"]) == (
        "kedro run --params 'a b=1'"
    )


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (["kedro", "run"], "KEDRO_ENV=smoke kedro run"),
        (["kedro", "run", "--env=small"], "kedro run --env=small"),
        (["kedro", "run", "--env", "small"], "kedro run --env small"),
        (["kedro", "run", "-e", "small"], "kedro run -e small"),
        (["kedro", "run", "-esmall"], "kedro run -esmall"),
    ],
)
def test_an_environment_that_the_command_does_not_name_is_said_with_it(
    arguments, typed, monkeypatch
):
    monkeypatch.setenv("KEDRO_ENV", "smoke")
    assert command(arguments) == typed


def test_commit_names_the_head_and_marks_local_changes(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    file = tmp_path / "file"
    file.write_text("one")
    git("init", "-q")
    git("add", "file")
    git("commit", "-qm", "first")
    clean = commit(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    file.write_text("two")
    assert commit(tmp_path) == f"{clean} with local changes"


def test_outside_of_git_there_is_no_commit(tmp_path):
    assert commit(tmp_path) is None


def test_provenance_has_versions_machine_and_fingerprints():
    evaluations = {"teacher": {"fingerprint": "aa"}, "quantized": {"fingerprint": "bb"}}
    facts = gather_provenance(evaluations, "my-images")
    assert facts["data"] == "my-images"
    assert facts["fingerprints_of_stages"] == {"teacher": "aa", "quantized": "bb"}
    # Stages of an earlier version have not recorded those of their images and parameters.
    assert not {"fingerprints_of_images", "fingerprints_of_parameters"} & set(facts)
    assert {"Python", "torch", "onnxruntime"} <= facts["versions"].keys()
    assert processor() in facts["machine"]


def test_images_have_one_fingerprint_each_and_stages_that_saw_others_are_named():
    seen = {"train_images": "t1", "validation_images": "v1", "test_images": "e1"}
    evaluations = {
        "teacher": {"fingerprint": "a", "fingerprints": {"parameters": "p1", **seen}},
        "student": {"fingerprint": "b", "fingerprints": {"parameters": "p2", **seen}},
        "pruned": {"fingerprint": "c", "fingerprints": {**seen, "train_images": "t2"}},
    }
    facts = gather_provenance(evaluations, "x", latency="50 turns")
    assert facts["fingerprints_of_images"] == {
        "training images of teacher, student": "t1",
        "training images of pruned": "t2",
        "validation images": "v1",
        "test images": "e1",
    }
    assert facts["fingerprints_of_parameters"] == {"teacher": "p1", "student": "p2"}
    assert facts["latency"] == "50 turns"
