"""The small shared module of the pruning notebooks.

Arrows run one way: data, models -> training -> pruning -> surgery, metrics -> sweeps; plots draws what it is handed.
"""

from .data import DataError, Dataset, Split, full_budget, load_dataset, output_path
from .models import CheckpointError, CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet, load_cifar_net, save_cifar_net
from .training import Evaluation, History, evaluate, load_pretrained, predict, seed_everything, train, trained

__all__ = [
    "CheckpointError", "CifarNet", "DataError", "Dataset", "DepthPrunedNet", "Evaluation", "History", "SimpleNet", "Split",
    "WidthPrunedNet", "evaluate", "full_budget", "load_cifar_net", "load_dataset", "load_pretrained", "output_path", "predict",
    "save_cifar_net", "seed_everything", "train", "trained",
]  # fmt: skip
