"""The small shared module of the pruning notebooks.

Arrows run one way: data, models -> training -> pruning -> surgery, metrics -> sweeps; plots draws what it is handed.
"""

# isort: off
from .data import DataError, Dataset, Split, full_budget, load_dataset, output_path, read_results, watched
from .metrics import Latency, Measurement, count_macs, file_bytes, latency, measure
from .models import CheckpointError, CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet, load_cifar_net, save_cifar_net
from .pruning import Criterion, GradientPruning, MagnitudePruning, PercentilePruning, RandomPruning, TaylorPruning
from .pruning import SparsityReport, make_permanent, prunable_layers, prune_globally, prune_layers, saliency_scores, sparsity
from .pruning import amounts_from_sensitivity, sensitivity_scan
from .schedules import Schedule, cubic, equal_steps, one_shot, prune_iteratively, prune_to
from .storage import load_pruned, save_pruned
from .surgery import ChannelGroup, SurgeryError, channel_groups, channel_scan, prune_channels, shrink, widths_for_macs
from .surgery import block_similarity, bridge_layer, drop_blocks, residual_blocks
from .training import Evaluation, History, evaluate, load_pretrained, predict, seed_everything, train, trained
# isort: on

__all__ = [
    "ChannelGroup", "CheckpointError", "CifarNet", "Criterion", "DataError", "Dataset", "DepthPrunedNet", "Evaluation",
    "GradientPruning", "History", "Latency", "MagnitudePruning", "Measurement", "PercentilePruning", "RandomPruning",
    "Schedule", "SimpleNet", "SparsityReport", "Split", "SurgeryError", "TaylorPruning", "WidthPrunedNet",
    "amounts_from_sensitivity", "block_similarity", "bridge_layer", "channel_groups", "channel_scan", "count_macs", "cubic",
    "drop_blocks", "equal_steps", "evaluate", "file_bytes", "full_budget", "latency", "load_cifar_net", "load_dataset",
    "load_pretrained", "load_pruned", "make_permanent", "measure", "one_shot", "output_path", "predict", "prunable_layers",
    "prune_channels", "prune_globally", "prune_iteratively", "prune_layers", "prune_to", "read_results", "residual_blocks",
    "saliency_scores", "save_cifar_net", "save_pruned", "seed_everything", "sensitivity_scan", "shrink", "sparsity", "train",
    "trained", "watched", "widths_for_macs",
]  # fmt: skip
