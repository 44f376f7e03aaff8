"""The small shared module of the pruning notebooks.

Arrows run one way: data, models -> training -> pruning -> surgery, metrics -> sweeps; plots draws what it is handed.
"""

from .data import DataError, Dataset, Split, full_budget, load_dataset, output_path, read_results, watched
from .models import CheckpointError, CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet, load_cifar_net, save_cifar_net
from .pruning import SparsityReport, make_permanent, prunable_layers, prune_global, prune_network, sparsity
from .training import Evaluation, History, evaluate, load_pretrained, predict, seed_everything, train, trained

__all__ = [
    "CheckpointError", "CifarNet", "DataError", "Dataset", "DepthPrunedNet", "Evaluation", "History", "SimpleNet",
    "SparsityReport", "Split", "WidthPrunedNet", "evaluate", "full_budget", "load_cifar_net", "load_dataset",
    "load_pretrained", "make_permanent", "output_path", "predict", "prunable_layers", "prune_global", "prune_network", "read_results",
    "save_cifar_net", "seed_everything", "sparsity", "train", "trained", "watched",
]  # fmt: skip
