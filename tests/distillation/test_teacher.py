import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from tests.distillation.conftest import CLASSES, SHAPE, spec_of
from torch import nn

from model_compression.distillation import (
    AnswerShelf,
    DistillationError,
    FrozenTeacher,
    KdSettings,
    Need,
    Pair,
    RememberingTeacher,
    TeacherEnsemble,
    combine_logits,
)
from model_compression.images import (
    AugmentationParameters,
    Batches,
    ImageSet,
    Normalization,
    supply,
)
from model_compression.models import build_model

NORMALIZATION = Normalization(mean=(0.3,), std=(0.5,))


class Counting(nn.Module):
    """A teacher that counts the images it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.network = build_model(spec_of("resnet8", width=4))
        self.asked = 0

    def forward(self, images):
        self.asked += len(images)
        return self.network(images)


@pytest.fixture
def images() -> ImageSet:
    generator = np.random.default_rng(0)
    return ImageSet(
        generator.integers(0, 256, (20, *SHAPE), dtype=np.uint8),
        generator.integers(0, CLASSES, 20),
        tuple("abc"),
        "images",
    )


def batches(images: ImageSet, size: int, shuffle: bool) -> Batches:
    return Batches(
        images,
        NORMALIZATION,
        batch_size=size,
        device="cpu",
        seed=3,
        augmentation=AugmentationParameters(crop_padding=1, views=2),
        shuffle=shuffle,
    )


@pytest.fixture
def asked() -> tuple[Counting, FrozenTeacher]:
    torch.manual_seed(0)
    module = Counting()
    teacher = FrozenTeacher(module, SHAPE, CLASSES, "float32")
    return module, teacher


@pytest.fixture
def remembering(asked, images, tmp_path) -> RememberingTeacher:
    return RememberingTeacher(asked[1], AnswerShelf(tmp_path), "key", batches(images, 6, False))


def test_a_frozen_teacher_stays_in_eval_mode_and_gives_no_gradient(batch):
    network = build_model(spec_of("resnet8", width=4)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    logits = FrozenTeacher(network, SHAPE, CLASSES).logits(batch)
    assert not logits.requires_grad
    assert not network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_teacher_is_neither_optimised_nor_stored(pair):
    objective = KdSettings(method="kd").objective(pair)
    assert list(objective.parameters()) == []
    assert objective.state_dict() == {}


def test_a_teacher_follows_the_layout_of_the_images(batch):
    teacher = FrozenTeacher(build_model(spec_of("resnet8", width=4)), SHAPE, CLASSES, "float32")
    plain = teacher.logits(batch)
    turned = batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(teacher.logits(turned), plain)


def test_a_view_is_asked_about_once_and_answers_live_logits(asked, remembering, images):
    module, teacher = asked
    for epoch in range(4):
        for batch in batches(images, 5, True).epoch(epoch):
            stored, before = remembering.logits(batch), module.asked
            assert stored.dtype == torch.float32
            torch.testing.assert_close(stored, teacher.logits(batch), rtol=2e-3, atol=2e-3)
            module.asked = before
    assert module.asked == 2 * len(images)


def test_another_training_reads_what_the_first_one_asked(asked, remembering, images, tmp_path):
    module, teacher = asked
    first = next(batches(images, 5, True).epoch(0))
    expected = remembering.logits(first)
    count = module.asked
    again = RememberingTeacher(teacher, AnswerShelf(tmp_path), "key", batches(images, 7, False))
    assert torch.equal(again.logits(first), expected)
    assert module.asked == count


def test_answers_do_not_depend_on_what_was_asked_first(asked, remembering, images, tmp_path):
    one, other = list(batches(images, 10, True).epoch(1))
    answer = remembering.logits(one)
    fresh = RememberingTeacher(
        asked[1], AnswerShelf(tmp_path / "other"), "key", batches(images, 6, False)
    )
    fresh.logits(other)
    assert torch.equal(fresh.logits(one), answer)


def test_answers_are_kept_apart_by_key(asked, remembering, images, tmp_path):
    batch = next(batches(images, 5, True).epoch(0))
    remembering.logits(batch)
    count = asked[0].asked
    other = RememberingTeacher(asked[1], AnswerShelf(tmp_path), "new", batches(images, 6, False))
    other.logits(batch)
    assert asked[0].asked == count + len(images)


def test_damaged_answers_are_refused_naming_the_file(remembering, images, tmp_path):
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "view_0.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"view_0\.npy does not hold .* delete it"):
        remembering.logits(next(batches(images, 5, True).epoch(0)))


def test_features_are_always_asked_live(asked, remembering, images):
    batch = next(batches(images, 5, True).epoch(0))
    shown = remembering.watch(Need.FEATURES)
    assert [f.shape[1:] for f in remembering.observe(batch).features] == [
        f.shape[1:] for f in shown.features
    ]


LOGITS = np.random.default_rng(1).normal(size=(3, 5, 4))
LABELS = np.array([0, 1, 2, 3, 1])


def test_averaged_logits_are_their_mean():
    combined = combine_logits(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), "average")
    np.testing.assert_allclose(combined, LOGITS.mean(0))


def test_confidence_weights_are_the_formula_written_in_numpy():
    errors = -log_softmax(LOGITS, axis=2)[:, np.arange(5), LABELS]
    weights = (1 - softmax(errors, axis=0)) / 2
    expected = np.einsum("tn,tnk->nk", weights, LOGITS)
    combined = combine_logits(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), "confidence")
    np.testing.assert_allclose(combined, expected)


def test_a_teacher_who_is_wrong_about_an_image_counts_less():
    right, wrong = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    combined = combine_logits(torch.stack([right, wrong]), torch.tensor([0]), "confidence")
    assert combined[0, 0] > combined[0, 1]


@pytest.mark.parametrize("combination", ["average", "confidence"])
def test_teachers_who_agree_answer_as_one(combination):
    one = torch.from_numpy(LOGITS[0])
    labels = torch.from_numpy(LABELS)
    torch.testing.assert_close(combine_logits(torch.stack([one] * 3), labels, combination), one)
    torch.testing.assert_close(combine_logits(one[None], labels, combination), one)


def test_extreme_logits_combine_to_finite_ones():
    logits = torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]]])
    assert torch.isfinite(combine_logits(logits, torch.tensor([0]), "confidence")).all()


@pytest.fixture
def ensemble(batch) -> TeacherEnsemble:
    torch.manual_seed(0)
    teachers = [
        FrozenTeacher(build_model(spec_of(name, width=4)), SHAPE, CLASSES, "float32")
        for name in ("resnet8", "resnet14")
    ]
    return TeacherEnsemble(teachers, "average")


def test_an_ensemble_answers_as_its_teachers_combined(ensemble, batch):
    expected = torch.stack([t.logits(batch) for t in ensemble._teachers]).mean(0)
    torch.testing.assert_close(ensemble.logits(batch), expected)
    torch.testing.assert_close(ensemble.observe(batch).logits, expected)


def test_a_student_learns_from_an_ensemble(ensemble, batch):
    spec = spec_of("resnet8", width=4)
    pair = Pair(ensemble, build_model(spec), spec, batch.labels)
    loss = KdSettings(method="kd").objective(pair)(batch, pair.student).loss
    loss.backward()
    assert all(parameter.grad is not None for parameter in pair.student.parameters())


def test_an_ensemble_cannot_be_looked_into(ensemble):
    with pytest.raises(DistillationError, match="learns from logits"):
        ensemble.watch(Need.FEATURES)


def test_teachers_of_other_classes_do_not_answer_together(ensemble):
    spec = spec_of("resnet8", width=4).model_copy(update={"classes": 7})
    other = FrozenTeacher(build_model(spec), SHAPE, 7)
    with pytest.raises(DistillationError, match="these know 3, 7"):
        TeacherEnsemble([ensemble._teachers[0], other], "average")


@pytest.mark.parametrize("share", [0, 1])
def test_answers_are_the_same_from_the_device_and_from_the_file(
    asked, remembering, images, share, tmp_path, monkeypatch
):
    seen = [batch for epoch in range(4) for batch in batches(images, 5, True).epoch(epoch)]
    expected = [remembering.logits(batch) for batch in seen]
    monkeypatch.setattr(supply, "free_memory", lambda device: 10**9)
    whole = batches(images, 6, False)
    whole.resident_share = share
    again = RememberingTeacher(asked[1], AnswerShelf(tmp_path), "key", whole)
    for batch, answer in zip(seen, expected, strict=True):
        assert torch.equal(again.logits(batch), answer)
    for batch, answer in zip(seen, expected, strict=True):
        assert torch.equal(again.logits(batch._replace(positions=None)), answer)


@pytest.mark.parametrize("share", [0, 1])
def test_stored_answers_reach_a_device_that_is_not_waited_for(
    asked, remembering, images, share, tmp_path, monkeypatch
):
    remembering.logits(next(batches(images, 5, True).epoch(0)))
    monkeypatch.setattr(supply, "free_memory", lambda device: 10**9)
    whole = batches(images, 6, False)
    whole.resident_share = share
    again = RememberingTeacher(asked[1], AnswerShelf(tmp_path), "key", whole)
    there = batches(images, 5, True)
    there.device = torch.device("meta")  # has no values, so asking for one would fail
    logits = again.logits(next(there.epoch(0)))
    assert logits.is_meta
    assert logits.shape == (5, CLASSES)
