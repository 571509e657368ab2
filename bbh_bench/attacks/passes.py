"""The cost of an attack in passes through networks, which, unlike seconds, is the same on every machine."""

from torch import Tensor

from bbh_bench.api import PredictFn


class PassCounter:
    """Counts forward and backward passes: n networks that predict B images in one call make n * B passes.

    A backward pass is counted when it is done, each time that a gradient flows into the outputs of a call. If a gradient
    concerns one of the n networks only, automatic differentiation still goes through all of them, and all are counted.
    """

    def __init__(self) -> None:
        self.forward = 0
        self.backward = 0

    def counted(self, networks: PredictFn) -> PredictFn:
        """The same networks with the same bits; their passes are added to those of this counter."""

        def counting(x: Tensor) -> Tensor:
            outputs = networks(x)
            passes = outputs.shape[:2].numel()
            self.forward += passes
            if outputs.requires_grad:
                outputs.register_hook(lambda gradient: self._add_backward(passes))
            return outputs

        return counting

    def _add_backward(self, passes: int) -> None:
        self.backward += passes
