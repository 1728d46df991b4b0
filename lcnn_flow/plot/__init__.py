"""Pictures of flows, filters, roots, spectra, level lines and Morse graphs: axes of matplotlib in, axes out.

Needs the extra `plot`; `lf.plot` imports it when it is first used. Functions that take a result of the library draw
and label whole axes; `band`, `filter_marks`, `morse_marks`, `root_marks`, `root_path_marks` and `spectrum_marks`
draw bare arrays into axes that the caller labels.
"""

from lcnn_flow.plot.complex_plane import root_marks, roots
from lcnn_flow.plot.courses import trajectories
from lcnn_flow.plot.eigenvalues import spectrum, spectrum_marks
from lcnn_flow.plot.level_lines import landscape
from lcnn_flow.plot.looks import TIME, Look, look
from lcnn_flow.plot.morse_graphs import morse, morse_marks
from lcnn_flow.plot.moving_roots import root_path_marks, root_paths
from lcnn_flow.plot.spread import band, quantiles
from lcnn_flow.plot.taps import filter_marks, filters

__all__ = [
    "TIME",
    "Look",
    "band",
    "filter_marks",
    "filters",
    "landscape",
    "look",
    "morse",
    "morse_marks",
    "quantiles",
    "root_marks",
    "root_path_marks",
    "root_paths",
    "roots",
    "spectrum",
    "spectrum_marks",
    "trajectories",
]
