"""A model computes the same whatever mode of PyTorch its caller is in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def own_modes() -> Iterator[None]:
    """Leave `torch.inference_mode` and `torch.autocast` for the length of a `with` block; gradients stay on or off.

    Tensors made under inference mode can never take part in training, and a prompt or packed weights outlive the
    caller's block. Autocast would run a float32 model in another type: a model's own is chosen when it is loaded.
    """
    learns = torch.is_grad_enabled()
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.set_grad_enabled(learns))  # inference_mode(False) switches them on
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        yield
