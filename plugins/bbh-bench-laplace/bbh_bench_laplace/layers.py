"""Which networks the approximations can treat."""

from functools import partial

import torch
from torch import Tensor, nn

from bbh_bench.errors import ContractError


def last_layer(network: nn.Module, x: Tensor, method: str) -> str:
    """Name of the layer that computes the outputs of the network for inputs ``x`` ``[B, ...]``.

    Raises ``ContractError``, which names the ``method``, if it is not nn.Linear.
    """
    outputs: list[tuple[str, Tensor]] = []

    def note(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        outputs.append((name, output))

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    hooks = [module.register_forward_hook(partial(note, name)) for name, module in leaves]
    training = network.training
    with torch.no_grad():
        whole = network.eval()(x)
    network.train(training)
    for hook in hooks:
        hook.remove()
    name, output = outputs[-1]
    layer = network.get_submodule(name)
    if type(layer) is not nn.Linear or not output.equal(whole):
        raise ContractError(
            f"{method}: the network does not end with an nn.Linear whose outputs are the network's; its last layer is {layer}. "
            "laplace-kfac does not need that."
        )
    return name


def check_layers(network: nn.Module, method: str) -> None:
    """Raise ``ContractError``, which names the ``method`` and the layer, for parameters of layers without Kronecker factors."""
    for name, layer in network.named_modules():
        supported = type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.padding_mode == "zeros")
        if not supported and list(layer.parameters(recurse=False)):
            raise ContractError(
                f"{method}: the layer '{name}' ({type(layer).__name__}) has parameters but no Kronecker factors; "
                "supported are nn.Linear and nn.Conv2d with zeros as padding. laplace-last-layer needs one at the end only."
            )
