"""Augmented batches of images that stay in memory. Used by `train` and `recalibrate`."""

import torch


def augmented_batches(split, batch_size, total, seed, device, *, shift, flip, cutout=0, shuffle=True):
    """Yield `total` batches: images (float [N, 3, 32, 32] in 0..1, channels last) and labels (int64 [N]).

    Images are shifted by at most `shift` pixels and reflected at the border; with `flip` every second one is mirrored; each
    loses a square of side `cutout`. One indexing operation shifts and mirrors a whole batch.
    """
    generator = torch.Generator().manual_seed(seed)
    images, labels = split.images.to(device).permute(0, 2, 3, 1).contiguous(), split.labels.to(device)
    size = images.shape[1]
    pixels = torch.arange(size)
    mean_color = images.float().mean((0, 1, 2)) / 255 if cutout else None

    def shifted(positions: torch.Tensor) -> torch.Tensor:
        positions = positions + torch.randint(2 * shift + 1, (len(positions), 1), generator=generator) - shift  # [N, 32]
        return size - 1 - (size - 1 - positions.abs()).abs()  # reflected at the border

    while total > 0:
        order = torch.randperm(len(labels), generator=generator) if shuffle else torch.arange(len(labels))
        for index in order.split(batch_size)[:total]:
            columns = pixels.expand(len(index), -1)
            rows = shifted(columns)
            if flip:
                mirrored = torch.rand(len(index), 1, generator=generator) < 0.5
                columns = torch.where(mirrored, columns.flip(1), columns)
            columns = shifted(columns)
            index, rows, columns = index.to(device), rows.to(device), columns.to(device)
            batch = images[index[:, None, None], rows[:, :, None], columns[:, None, :]].float().div_(255)  # [N, 32, 32, 3]
            if cutout:
                corner = torch.randint(size, (len(index), 2, 1), generator=generator) - cutout // 2
                inside = ((corner <= pixels) & (pixels < corner + cutout)).to(device)  # [N, 2, 32]: rows, columns of the square
                batch = torch.where((inside[:, 0, :, None] & inside[:, 1, None, :])[..., None], mean_color, batch)
            yield batch.permute(0, 3, 1, 2), labels[index]
        total -= len(order.split(batch_size))
