//! The spectrum of the background in a real tomogram.

/// Where the noise of the detector has fallen to 1/e, in cycles per Å: fitted by
/// `tests/fixtures/simulators/ice.py` to 19 boxes of ice, as is [`LOW`].
const ENVELOPE: f64 = 0.037_01;
/// Below which frequency solvent and neighbors outweigh an unfiltered detector, in cycles per Å.
const LOW: f64 = 0.007_423;

/// Root of the power at a frequency in cycles per voxel, and nothing at 0, since a mean is no noise.
pub(super) fn amplitude(frequency: [f64; 3], voxel_size: f64) -> f64 {
    let f2 = frequency.iter().map(|k| (k / voxel_size).powi(2)).sum::<f64>();
    if f2 > 0.0 { ((-f2 / ENVELOPE.powi(2)).exp() + LOW.powi(2) / f2).sqrt() } else { 0.0 }
}
