import subprocess

from model_compression.reporting.provenance import command, commit, gather_provenance, processor


def test_command_can_be_typed_again():
    assert command(["/somewhere/bin/kedro", "run", "--params", "a b=1"]) == (
        "kedro run --params 'a b=1'"
    )


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
    assert facts["fingerprints"] == {"teacher": "aa", "quantized": "bb"}
    assert {"Python", "torch", "onnxruntime"} <= facts["versions"].keys()
    assert processor() in facts["machine"]
