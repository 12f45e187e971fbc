"""Where `flatstep.training.solver` was in release 0.1, for pickles and programs that name it."""

from .training.solver import StochasticGradientDescent

__all__ = ["StochasticGradientDescent"]
