"""The effective receptive field: how much each pixel of a unit's field moves the unit (Luo et al., 2016).

The field of `rfcalc.analyses` says which pixels can reach a unit, whatever the weights. What is measured here is the
gradient of one unit with respect to the input, in a real forward and backward pass. Reference: W. Luo, Y. Li,
R. Urtasun, R. Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016.
"""

from __future__ import annotations

from rfcalc.effective.results import Area, EffectiveField, Gaussian, Outside, Settings

__all__ = ["Area", "EffectiveField", "Gaussian", "Outside", "Settings"]
