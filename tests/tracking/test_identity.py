import subprocess

import pytest

from model_compression.tracking.identity import LONGEST_NAME, Trial

ASKED = {
    "pipeline_names": ["compress"],
    "env": "smoke",
    "runtime_params": {"pruning": {"pruning": {"ratio": 0.6}}, "data": {"seed": 1}},
    "to_nodes": ["teacher.train"],
    "tags": [],
}


def test_the_name_says_pipeline_environment_and_what_was_overridden():
    trial = Trial.from_kedro(ASKED, default="compress")
    assert (
        trial.name
        == "compress [smoke] to-nodes=teacher.train data.seed=1 pruning.pruning.ratio=0.6"
    )


def test_a_plain_run_is_called_as_its_pipeline():
    asked = {"pipeline_names": None, "env": None, "runtime_params": {}}
    assert Trial.from_kedro(asked, default="compress").name == "compress"
    asked["pipeline_names"] = ["data_preparation", "teacher"]
    assert Trial.from_kedro(asked, default="compress").name == "data_preparation+teacher"


def test_the_command_asks_for_the_same_again():
    assert Trial.from_kedro(ASKED, default="compress").command == (
        "kedro run --pipeline=compress --env=smoke --to-nodes=teacher.train "
        "--params=data.seed=1,pruning.pruning.ratio=0.6"
    )


def test_a_long_name_is_cut_and_the_tag_is_whole(tmp_path):
    overrides = {f"group.key{number}": number for number in range(60)}
    trial = Trial(["compress"], overrides=overrides)
    assert len(trial.name) == LONGEST_NAME
    assert trial.name.endswith("…")
    assert "group.key59=59" in trial.tags(tmp_path)["overrides"]


@pytest.mark.parametrize("changed", [False, True])
def test_tags_tell_the_commit_and_whether_files_differ_from_it(tmp_path, changed):
    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    if changed:
        (tmp_path / "file").write_text("2")
    tags = Trial(["teacher"]).tags(tmp_path)
    assert tags["git_commit"] == tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert tags["git_dirty"] == str(changed).lower()
    assert tags["host_cpu"]


def test_outside_of_git_there_is_no_commit(tmp_path):
    assert not {"git_commit", "git_dirty"} & set(Trial(["teacher"]).tags(tmp_path))
