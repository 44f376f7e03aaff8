"""Augmented batches of images that stay in memory. Used by `train` and `recalibrate`."""

from collections.abc import Iterator

import torch
from torch import Tensor


def augmented_batches(
    split, batch_size, total, seed, device, *, shift, flip, cutout, shuffle=True
) -> Iterator[tuple[Tensor, Tensor]]:
    """`total` augmented batches (float [N, 3, 32, 32] channels last, int64 [N]), reshuffled every epoch.

    The images stay in memory as [N, H, W, C]: one indexing operation shifts and mirrors a whole batch.
    """
    generator = torch.Generator().manual_seed(seed)
    images = split.images.to(device).permute(0, 2, 3, 1).contiguous()  # [N, 32, 32, 3]
    labels = split.labels.to(device)
    size = images.shape[1]
    span = torch.arange(size)
    fill = images.float().mean((0, 1, 2)) / 255 if cutout else None

    def shifted(positions: Tensor) -> Tensor:
        """[N, 32] positions, each row shifted by its own amount and reflected at the border."""
        positions = positions + torch.randint(2 * shift + 1, (len(positions), 1), generator=generator) - shift
        return size - 1 - (size - 1 - positions.abs()).abs()

    done = 0
    while True:
        order = torch.randperm(len(labels), generator=generator) if shuffle else torch.arange(len(labels))
        for index in order.split(batch_size):
            if done == total:
                return
            n = len(index)
            rows = shifted(span.expand(n, -1))
            columns = span.expand(n, -1)
            if flip:
                mirror = torch.rand(n, 1, generator=generator) < 0.5
                columns = torch.where(mirror, columns.flip(1), columns)
            columns = shifted(columns)
            index, rows, columns = (t.to(device) for t in (index, rows, columns))
            batch = images[index[:, None, None], rows[:, :, None], columns[:, None, :]]  # [N, 32, 32, 3]
            batch = batch.float().div_(255)
            if cutout:
                corner = torch.randint(size, (n, 2, 1), generator=generator) - cutout // 2
                inside = ((corner <= span) & (span < corner + cutout)).to(device)  # [N, 2, 32]: rows, columns of the square
                batch = torch.where((inside[:, 0, :, None] & inside[:, 1, None, :])[..., None], fill, batch)
            yield batch.permute(0, 3, 1, 2), labels[index]
            done += 1
