"""Whether a fake quantizer rounds, and whether it observes, known without asking a device.

Knows the switches alone. torchao keeps them in buffers, which lie where the network does: on a GPU,
to read one at each step would have the host wait for all that the device has yet to do.
"""

from typing import Any

from model_compression.quantization._torchao import FakeQuantizeBase


class SwitchedFakeQuantize(FakeQuantizeBase):  # type: ignore[misc]
    """A fake quantizer whose switches the host knows.

    They are torchao's buffers, which are stored with a network's weights and set by torchao's
    methods, and beside them two values that follow them there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rounds = True
        """Whether it rounds what it is given; ``enable_fake_quant`` says so."""
        self.observes = True
        """Whether its range follows what it is given; ``enable_observer`` says so."""
        self.register_load_state_dict_post_hook(_follow)

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Has it round, or let everything pass as it is."""
        super().enable_fake_quant(enabled)
        self.rounds = bool(enabled)

    def enable_observer(self, enabled: bool = True) -> None:
        """Has its range follow what it is given, or stand still."""
        super().enable_observer(enabled)
        self.observes = bool(enabled)


def _follow(module: Any, _: Any) -> None:
    module.rounds = bool(module.fake_quant_enabled.item())
    module.observes = bool(module.observer_enabled.item())
