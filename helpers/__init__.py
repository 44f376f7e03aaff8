"""The small shared module of the pruning notebooks. Nothing here imports `experiments`, where measurements are made and drawn.

Arrows run one way: data, devices, models -> training -> masks -> criteria -> schedules, metrics, surgery -> sensitivity, checkpoints,
deploy; plots draws what it is handed.
"""

# isort: off
from .data import DataError, Dataset, Split, budget, is_interactive, load_dataset, output_path, read_results
from .metrics import Latency, Measurement, count_macs, latencies, measure
from .models import CifarNet, DepthPrunedNet, SimpleNet, WidthPrunedNet, resnet20, resnet56
from .criteria import Criterion, GradientPruning, MagnitudePruning, PercentilePruning, RandomPruning, TaylorPruning, WandaPruning
from .criteria import prune_globally, prune_layers, saliency_scores
from .masks import SparsityReport, make_permanent, prunable_layers, sparsity
from .schedules import Schedule, cubic, equal_steps, geometric, one_shot, prune_iteratively, prune_to
from .checkpoints import CheckpointError, load_network, load_pretrained, save_network, trained
from .surgery import ChannelGroup, SurgeryError, channel_groups, drop_blocks, prune_channels, residual_blocks, shrink
from .sensitivity import amount_for_drop, channel_scan, scan, widths_for_macs
from .training import Evaluation, History, evaluate, predict, recalibrate, train
# isort: on
