"""Dimensions after the axes of the sweep, meaning and units of the variables of stored results, by name.

This module does not import JAX, because axes are named by modules that work without it.
"""

__all__ = ["CELL", "CENSUS", "FLOW", "LIMIT", "OF_MODULES", "OUTER", "PICTURES", "TRAJECTORY", "TUNING"]

_Described = dict[str, tuple[tuple[str, ...], str, str]]

FLOW: dict[str, tuple[str, str, str]] = {
    "reason": ("reason", "why the verdict was given, a code of lcnn_flow.verdict.Reason", "1"),
    "final_risk": ("risk", "risk at the end of the flow", "risk"),
    "final_gradient_norm": ("gradient_norm", "norm of the gradient at the end of the flow", "risk / filter"),
    "gradient_tolerance": (
        "gradient_tolerance",
        "gradient norm below which a flow may converge",
        "risk / filter",
    ),
    "final_time": ("time", "time at which the flow was stopped", "flow time"),
    "steps": ("steps", "integration steps", "1"),
    "final_path_length": ("path_length", "length of the path of the filters", "filter"),
    "final_energy": ("energy", "risk lost along the flow", "risk"),
    "final_energy_defect": ("energy_defect", "risk lost less the integral of the squared gradient norm", "risk"),
    "invariant_drift": ("invariant_drift", "largest change of a conserved quantity", "1"),
    "polish_distance": ("polish_distance", "distance moved by Newton's method after the flow", "filter"),
    "hessian_index": ("hessian_index", "directions of negative curvature at the limit", "1"),
    "nullity": ("nullity", "flat directions at the limit beyond the symmetries", "1"),
    "smallest_curvature": (
        "smallest_curvature",
        "smallest curvature at the limit beyond the symmetries",
        "risk / filter^2",
    ),
    "growth_rate": ("growth_rate", "exponent of a power law of growth", "1"),
    "limit_is_isolated": ("limit_is_isolated", "whether the limit is isolated up to symmetries", "1"),
    "sound": ("sound", "whether derivatives of the limit are meaningful", "1"),
}
"""Field of `lcnn_flow.Flow`, meaning and units of variables with one value per seed."""

OF_MODULES = (
    "sharpness",
    "flow_sharpness",
    "flow_risk",
    "distance_to_flow",
    "law_defect",
    "law_change",
    "law_miss",
    "flow_drift",
    "learning_time",
    "targets_size",
    "normalized_margin",
    "smoothed_margin",
    "alignment",
    "linear_margin",
    "kernel_drift",
    "lazy_filter",
    "minimum_norm_filter",
    "largest_normalized_margin",
)
"""Variables that only some modules or descents store, or that older results do not have."""

TRAJECTORY: _Described = {
    "risk": ((), "risk", "risk"),
    "gradient_norm": ((), "norm of the gradient", "risk / filter"),
    "path_length": ((), "path length", "filter"),
    "energy": ((), "risk lost since the start", "risk"),
    "energy_defect": ((), "risk lost less the integral of the squared gradient norm", "risk"),
    "squared_norms": (("layer",), "squared norm of each filter", "filter^2"),
    "balancedness": (("interface",), "balancedness (|w_l|^2 - |w_l+1|^2)/2", "filter^2"),
    "end_to_end_filter": (("tap",), "end-to-end filter along the flow", "filter"),
    "sharpness": ((), "largest eigenvalue of the Hessian", "risk / filter^2"),
    "flow_sharpness": ((), "the same along the gradient flow, at the times of the descent", "risk / filter^2"),
    "flow_risk": ((), "risk along the gradient flow, at the times of the descent", "risk"),
    "distance_to_flow": ((), "distance of the descent from the gradient flow at the same time", "filter"),
    "normalized_margin": ((), "smallest margin over |w|^N, N the number of layers", "1 / filter^N"),
    "smoothed_margin": ((), "its lower bound from the risk alone; NaN until that is positive", "1 / filter^N"),
    "kernel_drift": ((), "change of the kernel K = J J^T of the end-to-end filter, relative to its start", "1"),
    "alignment": ((), "cosine of the angle between the parameters and minus the gradient", "1"),
}
"""Variables along trajectories, with dimensions seed and time before those given here."""

LIMIT: _Described = {
    "limit_risk": ((), "risk at the limit", "risk"),
    "relative_gradient": ((), "gradient at the limit over its size if nothing cancelled", "1"),
    "hessian_eigenvalues": (("eigenvalue",), "Hessian spectrum at the limit across the symmetries", "risk / filter^2"),
    "jacobian_rank": ((), "rank of dv/dw at the limit", "1"),
    "common_root_gap": ((), "distance of the limit from a common root of two layers", "1"),
    "optimality_gap": ((), "risk at the limit less the least risk over all end-to-end filters", "risk"),
    "orbit": ((), "number of the critical point up to rescaling, the most frequent first", "1"),
    "certified_index": ((), "certified number of negative curvatures", "1"),
    "existence_radius": ((), "a critical point lies within this distance of the limit", "filter"),
    "uniqueness_radius": ((), "no other of this balancedness lies within this distance", "filter"),
    "trapping_radius": ((), "flows of this balancedness that come this near converge to it", "filter"),
    "lojasiewicz_exponent": ((), "Lojasiewicz exponent; NaN where the flow is not asymptotic", "1"),
    "lojasiewicz_residual": ((), "root mean square residual of its fit, in log gradient", "1"),
    "law_defect": ((), "largest error of the law of balancedness in one step, over the largest |w_l|^2", "1"),
    "law_change": ((), "largest change of the balancedness in one step, over the largest |w_l|^2", "1"),
    "law_miss": ((), "largest error of that law in one step, over the largest change in one step", "1"),
    "flow_drift": ((), "largest change of the balancedness along the flow beside, over the largest |w_l|^2", "1"),
    "lazy_filter": (("tap",), "limit of the flow of the linear model with the kernel of the start", "filter"),
    "norm_bound": (("layer",), "a-priori bound on the norm of each filter", "filter"),
}
"""Variables of limits, with the dimension seed before those given here."""

CELL: _Described = {
    "true_filter": (("tap",), "end-to-end filter that made the targets", "filter"),
    "minimum_norm_filter": (("tap",), "smallest end-to-end filter among those of the least risk", "filter"),
    "inputs_smallest": ((), "smallest singular value of the inputs X (0: X X^T is singular)", "input"),
    "inputs_largest": ((), "largest singular value of the inputs X", "input"),
    "patches_smallest": ((), "smallest singular value of the patch matrix P", "input"),
    "patches_largest": ((), "largest singular value of the patch matrix P", "input"),
    "attainable_smallest": ((), "smallest |P v| / |v| found over attainable filters v", "input"),
    "full_rank_inputs": ((), "(A) X X^T has full rank (1 yes, 0 no)", "1"),
    "full_rank_patches": ((), "(B) P has full column rank (1 yes, 0 no)", "1"),
    "injective_on_attainable": ((), "(C) no attainable filter in ker P (1 yes, 0 no, NaN not decided)", "1"),
    "loss_convex": ((), "the loss is convex (1 yes, 0 no, NaN not known)", "1"),
    "hypotheses_hold": ((), "hypotheses of convergence (1 hold, 0 fail, NaN not decided)", "1"),
    "targets_size": ((), "root mean square of the targets", "target"),
    "sample_count": ((), "number of samples", "1"),
    "linear_margin": ((), "largest margin of an end-to-end filter of norm 1; 0: none separates the data", "input"),
    "largest_normalized_margin": ((), "largest min z / |w|^N of a dense network; NaN where not known", "1 / filter^N"),
    "learning_time": (("time",), "sum of the learning rates at the stored steps", "flow time"),
    "shown_patches": (("point", "tap"), "patches of evenly spaced outputs of the data", "input"),
    "shown_target": (("point",), "targets at these outputs", "target"),
    "shown_weight": (("point",), "weights of their samples", "1"),
    "wall_time": ((), "wall time of the cell, with compilation", "s"),
}
"""Variables of cells."""

CENSUS: _Described = {
    "census_expected_count": ((), "number N(k) of complex critical points with v != 0 that there should be", "1"),
    "census_found": ((), "those that are certified to exist and to differ", "1"),
    "census_index_sum": ((), "sum of (-1)^index over the real critical points", "1"),
    "census_expected_index_sum": ((), "what that sum must be for data in general position (NaN: not known)", "1"),
    "census_minima": ((), "number of local minima found", "1"),
    "census_spurious_minima": (
        (),
        "number of minima certified to lie above the global one (NaN unless certified complete)",
        "1",
    ),
    "census_risk_at_zero": ((), "risk of the filter 0", "risk"),
    "point_risk": (("critical_point",), "risk of every real critical point, the lowest first", "risk"),
    "point_index": (("critical_point",), "certified number of its negative Hessian eigenvalues", "1"),
    "point_is_lowest": (("critical_point",), "whether it is a minimum that no other is shown to lie below", "1"),
    "point_jacobian_rank": (("critical_point",), "rank of dv/dw there", "1"),
    "point_filter": (("critical_point", "tap"), "its end-to-end filter", "filter"),
    "point_flows_to": (
        ("critical_point", "side"),
        "critical points at which the two flows down from a saddle of index 1 end",
        "1",
    ),
    "census_point": (("seed",), "number of the critical point at which the flow ends (NaN: at none of them)", "1"),
}
"""Variables of the census of a cell, if `analysis.census` is true; critical points are counted up to rescaling."""

TUNING: _Described = {
    "objective": (("iteration",), "mean squared relative error of the limits that have a derivative", "1"),
    "sound_flows": (("iteration",), "number of flows whose limit has a derivative", "1"),
    "tuned_delta": (("iteration",), "loss parameter delta along the tuning", "target"),
    "tuned_a": (("iteration",), "loss parameter a along the tuning", "1 / target"),
    "tuned_b": (("iteration",), "loss parameter b along the tuning", "1"),
    "weight": (("sample",), "tuned weight of each sample, with mean 1", "1"),
    "gross_error": (("sample",), "root mean square of the residuals of the true filter on each sample", "target"),
    "untuned_filter": (("seed", "tap"), "end-to-end filter of the limit before tuning", "filter"),
    "untuned_sound": (("seed",), "whether derivatives of the limit before tuning are meaningful", "1"),
    "derivative": ((), "implicit derivative of the objective along a random direction, at the start", "1"),
    "finite_difference": ((), "the same derivative by a central difference of full flows", "1"),
}
"""Variables of cells of the module `tuning`."""


OUTER: _Described = {
    "pull": (
        ("tap",),
        "minus the gradient of the risk as a function of the filter, at filter 0",
        "risk / filter",
    ),
    "curvature": (
        ("tap", "other_tap"),
        "second derivative of the risk as a function of the filter, at filter 0",
        "risk / filter^2",
    ),
}
"""Variables of cells of modules that compare with closed forms: the risk as a function of the end-to-end filter."""


PICTURES: _Described = {
    "least_squares": (("tap",), "end-to-end filter of the least risk over all filters", "filter"),
    "sharp": (("row", "column"), "part of the sharp photograph that was not learned from", "standard deviation"),
    "blurred": (
        ("blurred_row", "blurred_column"),
        "the same part, blurred and noisy, with a margin of half a filter",
        "standard deviation",
    ),
}
"""Variables of cells of the module `imaging`."""
