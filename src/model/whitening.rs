//! Volumes with a flat spectrum, what a network sees beside the volumes themselves.

use tch::{Device, Kind, Tensor};

/// Divides each volume's spectrum by its own root mean square over shells of frequency, up to [`LAST`](Self::LAST).
///
/// Where noise outweighs signal, which in a subtomogram is nearly everywhere, what is left has white noise whatever the
/// color of the noise was: a filter that a network learned for one microscope then fits another.
///
/// # Formula
/// ```text
/// F'(k) = F(k) · t(|k|) / √(P_r + ε·mean P)      r = ⌊|k| + ½⌋, P_r = mean of |F|² over shell r
/// ```
/// with `t` the taper towards the last frequency; then the volume is standardized.
///
/// # Shapes
/// `[B, 1, S, S, S]` → the same.
#[derive(Debug)]
pub(super) struct Whitening {
    side: i64,
    /// The shell of each entry of the half spectrum, `[S·S·(S/2 + 1)]`.
    shell: Tensor,
    /// One over the entries of each shell, `[shells]`.
    per_entry: Tensor,
    /// `[S, S, S/2 + 1]`.
    taper: Tensor,
}

impl Whitening {
    /// Where the taper is at half, in cycles per voxel: beyond, a subtomogram at 10 Å has noise alone.
    const LAST: f64 = 0.31;
    /// How wide the taper falls off, in cycles per voxel.
    const WIDTH: f64 = 0.02;
    /// So much of the mean power counts as power of every shell: a spectrum that was cut off stays cut off.
    const FLOOR: f64 = 1e-3;

    pub(super) fn new(side: i64, device: Device) -> Self {
        let signed = |index: i64| if index > side / 2 { index - side } else { index };
        let half = side / 2 + 1;
        let (mut shells, mut taper) = (Vec::new(), Vec::new());
        for z in 0..side {
            for y in 0..side {
                for x in 0..half {
                    let length = [signed(z), signed(y), x].iter().map(|&k| (k * k) as f64).sum::<f64>().sqrt();
                    shells.push((length + 0.5).floor() as i64);
                    let beyond = (length / side as f64 - Self::LAST) / Self::WIDTH;
                    taper.push((1.0 / (1.0 + beyond.exp())) as f32);
                }
            }
        }
        let count = 1 + shells.iter().max().copied().unwrap_or(0);
        let mut entries = vec![0f32; count as usize];
        for &shell in &shells {
            entries[shell as usize] += 1.0;
        }
        // Between the largest two shells there may be none.
        let per_entry: Vec<f32> = entries.iter().map(|&entries| 1.0 / entries.max(1.0)).collect();
        Self {
            side,
            shell: Tensor::from_slice(&shells).to_device(device),
            per_entry: Tensor::from_slice(&per_entry).to_device(device),
            taper: Tensor::from_slice(&taper).view([side, side, half]).to_device(device),
        }
    }

    pub(super) fn forward(&self, volumes: &Tensor) -> Tensor {
        let (size, axes) = ([self.side; 3], [2i64, 3, 4]);
        let spectrum = volumes.to_kind(Kind::Float).fft_rfftn(None::<&[i64]>, &axes[..], "ortho");
        let power = spectrum.abs().square().flatten(1, -1);
        let shells = Tensor::zeros([power.size()[0], self.per_entry.size()[0]], (Kind::Float, power.device()));
        let mean = shells.index_add(1, &self.shell, &power) * &self.per_entry;
        let floor = Self::FLOOR * power.mean_dim(1, true, Kind::Float) + f64::from(f32::MIN_POSITIVE);
        let factor = (mean + floor).rsqrt().index_select(1, &self.shell).view_as(&spectrum);
        let white = (spectrum * factor * &self.taper).fft_irfftn(&size[..], &axes[..], "ortho");
        let mean = white.mean_dim(&axes[..], true, Kind::Float);
        let std = white.std_dim(&axes[..], false, true).clamp_min(1e-6);
        ((white - mean) / std).to_kind(volumes.kind())
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::Whitening;

    const SIDE: i64 = 12;

    /// Volumes whose spectrum was multiplied by this factor of the frequency in cycles per voxel.
    fn colored(volumes: &Tensor, factor: impl Fn(f64) -> f64) -> Tensor {
        let axes = [2i64, 3, 4];
        let signed = |index: i64| if index > SIDE / 2 { index - SIDE } else { index };
        let factors: Vec<f32> = (0..SIDE * SIDE * (SIDE / 2 + 1))
            .map(|entry| {
                let (x, y, z) = (entry % (SIDE / 2 + 1), entry / (SIDE / 2 + 1) % SIDE, entry / (SIDE / 2 + 1) / SIDE);
                let length = [signed(z), signed(y), x].iter().map(|&k| (k * k) as f64).sum::<f64>().sqrt();
                // The same within a shell, as a color that changes slowly is.
                factor((length + 0.5).floor() / SIDE as f64) as f32
            })
            .collect();
        let factors = Tensor::from_slice(&factors).view([SIDE, SIDE, SIDE / 2 + 1]);
        (volumes.fft_rfftn(None::<&[i64]>, &axes[..], "ortho") * factors).fft_irfftn(&[SIDE; 3][..], &axes[..], "ortho")
    }

    fn volumes() -> Tensor {
        let waves = Tensor::arange(2 * SIDE.pow(3), (Kind::Float, Device::Cpu)).square() * 0.37;
        waves.sin().view([2, 1, SIDE, SIDE, SIDE])
    }

    #[test]
    fn the_color_of_a_volume_does_not_matter() {
        let whitening = Whitening::new(SIDE, Device::Cpu);
        let white = whitening.forward(&volumes());
        let seen = whitening.forward(&(colored(&volumes(), |f| (-4.0 * f).exp()) * 7.0 + 3.0));
        // But for the floor, a thousandth of the mean power.
        assert!(f64::try_from((&white - &seen).abs().max()).unwrap_or(f64::NAN) < 0.05);
        assert!(f64::try_from((&white - volumes()).abs().max()).unwrap_or(f64::NAN) > 0.5, "it is no identity");
    }

    #[test]
    fn each_volume_is_standardized_by_itself() {
        let whitening = Whitening::new(SIDE, Device::Cpu);
        let both = whitening.forward(&volumes());
        let one = whitening.forward(&volumes().narrow(0, 1, 1));
        assert!(f64::try_from((both.narrow(0, 1, 1) - one).abs().max()).unwrap_or(f64::NAN) < 1e-5);
        let (mean, std) =
            (both.mean_dim(&[2i64, 3, 4][..], false, Kind::Float), both.std_dim(&[2i64, 3, 4][..], false, false));
        assert!(f64::try_from(mean.abs().max()).unwrap_or(f64::NAN) < 1e-5);
        assert!(f64::try_from((std - 1.0).abs().max()).unwrap_or(f64::NAN) < 1e-4);
        // Without contrast there is nothing to whiten, and no NaN.
        let flat = whitening.forward(&Tensor::ones([1, 1, SIDE, SIDE, SIDE], (Kind::Float, Device::Cpu)));
        assert!(f64::try_from(flat.abs().max()).unwrap_or(f64::NAN) < 1.0);
    }
}
