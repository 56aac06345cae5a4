import pytest
import torch
from torch import Tensor, nn

from model_compression.quantization.capture import capture
from model_compression.quantization.layers import (
    LayerInterpreter,
    LayerKey,
    evaluating,
    layers_of,
    matched_layers,
    walk,
)


class Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.shared = nn.Conv2d(3, 3, 1, bias=False)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        x = x + self.shared(self.shared(x))
        return self.head(self.drop(x).mean((2, 3)))


@pytest.fixture
def graph():
    torch.manual_seed(0)
    return capture(Branched(), (1, 4, 4))


KEYS = [
    LayerKey("conv.weight", 0),
    LayerKey("shared.weight", 0),
    LayerKey("shared.weight", 1),
    LayerKey("head.weight", 0),
]


def test_layers_come_in_the_order_in_which_they_run(graph):
    layers = layers_of(graph)
    assert list(layers) == KEYS
    assert [layer.is_shared for layer in layers.values()] == [False, True, True, False]
    assert layers[KEYS[1]].bias is None
    assert layers[KEYS[3]].channel_axis == -1


def test_walking_shows_what_a_plain_run_shows_batch_by_batch(graph):
    batches = [torch.randn(2, 1, 4, 4), torch.randn(3, 1, 4, 4)]
    expected: list[dict[LayerKey, tuple[Tensor, Tensor]]] = []
    for batch in batches:
        seen: dict[LayerKey, tuple[Tensor, Tensor]] = {}
        interpreter = LayerInterpreter(
            graph, lambda key, x, y, seen=seen: seen.update({key: (x, y)})
        )
        assert torch.equal(interpreter.run(batch), graph(batch))
        expected.append(seen)
    layers = layers_of(graph)
    for key, runs in walk(graph, batches):
        for run, seen in zip(runs, expected, strict=True):
            assert torch.equal(run.input_of(layers[key].node), seen[key][0])
            assert torch.equal(run.run_node(layers[key].node), seen[key][1])


def test_a_change_made_on_the_way_reaches_the_layers_after_it(graph):
    batch = torch.randn(2, 1, 4, 4)
    layers = layers_of(graph)
    with torch.no_grad():
        for key, (run,) in walk(graph, [batch]):
            if key == KEYS[0]:
                layers[key].weight.mul_(2)
                layers[key].bias.add_(1)
            last = run.input_of(layers[key].node)
        head = graph.get_submodule("head")
        torch.testing.assert_close(last @ head.weight.T + head.bias, graph(batch))


def test_evaluation_is_for_a_while_only(graph):
    graph.training = True
    with evaluating(graph):
        assert not any(part.training for part in graph.modules())
        assert not graph(torch.randn(1, 1, 4, 4)).requires_grad
    assert graph.training


def test_graphs_of_other_layers_do_not_match(graph):
    other = capture(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4))
    with pytest.raises(ValueError, match=r"1\.weight.*conv\.weight"):
        matched_layers(graph, other)


def test_no_batches_are_refused(graph):
    with pytest.raises(ValueError, match="at least one batch"):
        next(walk(graph, []))
