"""Representations of known degradations as a picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dasr_fast.evaluation.representation import Numbers, Representations, Separability, require_plotting
from dasr_fast.evaluation.setting import Setting
from dasr_fast.files import written_whole

PICTURES = (".png", ".svg", ".pdf")
"""Endings of the files that are written."""

MARKERS = "o^sDvPX*"


@dataclass(frozen=True)
class Panel:
    """What one part of the plot shows.

    Attributes:
        title: Which encoder it is.
        representations: What that encoder makes.
        points: The representations in two dimensions, `[n, 2]`.
        separability: How well the representations separate.
    """

    title: str
    representations: Representations
    points: Numbers
    separability: Separability


def plot(panels: Sequence[Panel], settings: Sequence[Setting], path: Path) -> None:
    """Write scatter plots of the same degradations side by side, as in the paper's Figure 4.

    Each kernel has a colour and each noise level a marker, of which there are eight. `settings` are the degradations,
    by number; `path` ends in .png, .svg or .pdf.

    Raises:
        ImportError: matplotlib isn't installed.
        ValueError: The file name ends otherwise.
    """
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"{path}: plots are written as {', '.join(PICTURES)}.")
    require_plotting("matplotlib")
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    kernels = list(dict.fromkeys(setting.kernel for setting in settings))
    noise_levels = list(dict.fromkeys(setting.noise for setting in settings))
    colours = plt.get_cmap("turbo")([(i + 0.5) / len(kernels) for i in range(len(kernels))])
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels) + 2, 5.4), squeeze=False, layout="constrained")
    for panel, axis in zip(panels, axes[0], strict=True):
        for number, setting in enumerate(settings):
            chosen = panel.points[panel.representations.degradations == number]
            noise = f", noise {setting.noise:g}" if len(noise_levels) > 1 else ""
            axis.scatter(
                *chosen.T,
                s=14,
                linewidths=0,
                alpha=0.8,
                color=colours[kernels.index(setting.kernel)],
                marker=MARKERS[noise_levels.index(setting.noise) % len(MARKERS)],
                label=f"{setting.kernel}{noise}",
            )
        found = panel.separability
        title = textwrap.fill(panel.title, 50)
        axis.set_title(
            f"{title}\nnearest neighbours right {found.accuracy:.0%}, by chance {found.chance:.0%}", fontsize=11
        )
        axis.set(xticks=[], yticks=[])
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, title="Blur kernel", loc="outside right center", markerscale=2, frameon=False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)
