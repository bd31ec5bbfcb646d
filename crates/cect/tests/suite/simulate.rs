//! Optics, noise and reproducibility.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use rayon::prelude::*;
use soft_lmccl_cect::{
    NoiseColor, SimulatedDataset, SimulationConfig, Simulator, SnrScaling, Template, Volume, catalogue,
};

use super::{lopsided, spectrum, told};

fn config(side: usize) -> SimulationConfig {
    SimulationConfig { side, ..Default::default() }
}

#[test]
fn neither_order_nor_threads_matter() {
    let templates = catalogue::templates();
    let simulator = Simulator::new(config(16)).unwrap();
    let bits = |index: usize| -> Vec<u32> {
        let template = &templates[index % templates.len()];
        let volume = simulator.simulate(template, 3, index as u64).unwrap();
        volume.voxels().iter().map(|voxel| voxel.to_bits()).collect()
    };
    let forward: Vec<_> = (0..30).map(bits).collect();
    let backward: Vec<_> = (0..30).rev().map(bits).collect();
    assert!(forward.iter().eq(backward.iter().rev()));
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let parallel: Vec<_> = pool.install(|| (0..30).into_par_iter().map(bits).collect());
        assert_eq!(forward, parallel);
    }
    assert_ne!(forward[0], forward[23], "the index changes pose and noise");
    let other = simulator.simulate(&templates[0], 4, 0).unwrap();
    assert_ne!(forward[0][0], other.voxels()[0].to_bits(), "so does the seed");
}

/// Pins the stream of random numbers: a change of generator or of the order of draws would change
/// every simulated set without any other test noticing.
#[test]
fn poses_are_those_of_every_version() {
    let parts = Simulator::new(config(16)).unwrap().parts(&lopsided("beads"), 1, 2).unwrap();
    let pose = parts.pose.rotation.into_iter().chain(parts.pose.shift);
    let found: Vec<String> = pose.map(|value| format!("{value:.9}")).collect();
    let rotation = ["0.918391030", "0.194748300", "-0.343416496", "0.026384214"];
    let shift = ["0.923630530", "-0.111143506", "-0.680554854"];
    assert_eq!(found, [&rotation[..], &shift].concat());
}

/// Pins what the numbers become: signal and noise at two voxels, in every branch of the simulator.
#[test]
fn subtomograms_are_those_of_every_version() {
    let (template, plain) = (lopsided("beads"), config(16));
    for (config, expected) in [
        (plain, [2.1605, 2.7453, 2.5582, -3.7878]),
        (SimulationConfig { noise: NoiseColor::White, ..plain }, [2.1605, -0.0164, 2.5582, 5.0943]),
        (SimulationConfig { noise: NoiseColor::HalfHalf, ..plain }, [2.1605, 8.9917, 2.5582, 0.0969]),
        (SimulationConfig { noise: NoiseColor::Aitom, ..plain }, [1.3260, 0.1033, 2.6132, -6.7352]),
        (SimulationConfig { underfocus_spread: 1.5, ..plain }, [1.9802, 2.3947, 1.8238, -6.4634]),
        (
            SimulationConfig { tilt_step: Some(6.0), tilt_dose: 3.0, amplitude_contrast: 0.07, ..plain },
            [1.4362, -0.5862, 3.2808, -3.8650],
        ),
    ] {
        let parts = Simulator::new(config).unwrap().parts(&template, 1, 2).unwrap();
        let at = |[z, y, x]: [usize; 3]| [&parts.signal, &parts.noise].map(|volume| volume.get(z, y, x).unwrap());
        let found = [at([8, 8, 6]), at([5, 10, 11])].concat();
        for (found, expected) in found.iter().zip(expected) {
            // Single precision in transforms, whose order of sums goes by the processor.
            assert_abs_diff_eq!(*found, expected, epsilon = 1e-3);
        }
    }
}

#[test]
fn the_ratio_of_variances_is_the_snr() {
    let variance = |volume: &Volume| volume.statistics().std.powi(2);
    for noise in [NoiseColor::ThroughOptics, NoiseColor::White, NoiseColor::HalfHalf, NoiseColor::Ice] {
        for snr in [0.03, 0.05, 2.0] {
            let simulator = Simulator::new(SimulationConfig { snr, noise, ..config(20) }).unwrap();
            for (index, template) in catalogue::templates().iter().enumerate().step_by(5) {
                let parts = simulator.parts(template, 9, index as u64).unwrap();
                let measured = variance(&parts.signal) / variance(&parts.noise);
                assert_relative_eq!(measured, snr, max_relative = 0.05);
                let whole = simulator.simulate(template, 9, index as u64).unwrap();
                let sums = parts.signal.voxels().iter().zip(parts.noise.voxels());
                for (found, (signal, noise)) in whole.voxels().iter().zip(sums) {
                    assert_relative_eq!(*found, signal + noise, max_relative = 1e-5, epsilon = 1e-3);
                }
            }
        }
    }
}

/// Where the transfer function passes hardly anything, the noise has what its color says: nothing, all or half.
#[test]
fn noise_has_the_spectrum_of_its_color() {
    // An odd side, so that no frequency stands for two.
    let plain = config(9);
    let passes = |k: [f64; 3]| f64::from(u8::from(plain.is_sampled(k)));
    let transfer = |k: [f64; 3]| passes(k) * plain.contrast_transfer(k.iter().map(|c| c * c).sum::<f64>().sqrt());
    for (noise, through, late) in
        [(NoiseColor::ThroughOptics, 1.0, 0.0), (NoiseColor::HalfHalf, 0.5, 0.5), (NoiseColor::White, 0.0, 1.0)]
    {
        let simulator = Simulator::new(SimulationConfig { noise, ..plain }).unwrap();
        let seen = |k| if noise == NoiseColor::White { 1.0 } else { passes(k) };
        let (mut dim, mut all) = (0.0, 0.0);
        let (mut early_dim, mut early_all, mut late_dim, mut late_all) = (0.0, 0.0, 0.0, 0.0);
        for index in 0..40 {
            let parts = simulator.parts(&lopsided("beads"), 6, index).unwrap();
            for (k, value) in spectrum(&parts.noise) {
                let power = value.norm_sqr() / parts.noise.statistics().std.powi(2);
                let (early, late) = (transfer(k).powi(2), seen(k));
                let is_dim = f64::from(u8::from(early < 0.05));
                all += power;
                dim += is_dim * power;
                early_all += early;
                early_dim += is_dim * early;
                late_all += late;
                late_dim += is_dim * late;
            }
        }
        let expected = through * early_dim / early_all + late * late_dim / late_all;
        assert!(late_dim / late_all > 0.2, "the dim part is no small one");
        // Five standard errors of 40 samples of some hundred free numbers.
        assert_relative_eq!(dim / all, expected, max_relative = 0.05);
    }
}

/// A spread of the underfocus that is as good as none changes nothing, and the density's own strength cancels.
#[test]
fn aitoms_noise_goes_by_the_density_and_by_each_samples_optics() {
    let aitom = SimulationConfig { side: 16, ..SimulationConfig::aitom(0.05) };
    let noise = |config, snr| {
        let config = SimulationConfig { snr, ..config };
        Simulator::new(config).unwrap().parts(&lopsided("beads"), 3, 1).unwrap().noise
    };
    let fixed = noise(aitom, 0.05);
    let strength = fixed.statistics().std;
    assert_relative_eq!(noise(aitom, 0.2).statistics().std, strength / 2.0, max_relative = 1e-5);
    // The draw of the underfocus moves the stream, so only the strength can be compared.
    let spread = noise(SimulationConfig { underfocus_spread: 1e-6, ..aitom }, 0.05);
    assert_ne!(spread, fixed);
    assert_relative_eq!(spread.statistics().std, strength, max_relative = 0.2);
}

/// Amplitude contrast passes the mean, which is no variance.
#[test]
fn the_ratio_is_one_of_variances_where_the_mean_passes() {
    let variance = |volume: &Volume| volume.statistics().std.powi(2);
    let template = catalogue::find("1bxn").unwrap().template();
    for noise in [NoiseColor::ThroughOptics, NoiseColor::White, NoiseColor::HalfHalf] {
        let simulator = Simulator::new(SimulationConfig { amplitude_contrast: 1.0, noise, ..config(16) }).unwrap();
        let parts = simulator.parts(&template, 9, 1).unwrap();
        let mean = parts.signal.statistics().mean;
        assert!(mean.powi(2) > 0.1 * variance(&parts.signal), "{mean}");
        assert_relative_eq!(variance(&parts.signal) / variance(&parts.noise), 0.05, max_relative = 1e-3);
    }
}

#[test]
fn signal_and_noise_are_independent() {
    let simulator = Simulator::new(config(24)).unwrap();
    let template = lopsided("beads");
    let mut correlations = 0.0;
    for index in 0..40 {
        let parts = simulator.parts(&template, 2, index).unwrap();
        let products = parts.signal.voxels().iter().zip(parts.noise.voxels());
        let product: f64 = products.map(|(&s, &n)| f64::from(s) * f64::from(n)).sum();
        let count = 24f64.powi(3);
        correlations += product / count / parts.signal.statistics().std / parts.noise.statistics().std;
    }
    // Each has a spread near 0.03 (the optics leave a few thousand free voxels).
    assert_abs_diff_eq!(correlations / 40.0, 0.0, epsilon = 0.03);
}

#[test]
fn nothing_is_left_in_the_missing_wedge() {
    for side in [16, 21] {
        for (noise, empty) in [
            (NoiseColor::Ice, true),
            (NoiseColor::ThroughOptics, true),
            (NoiseColor::HalfHalf, true),
            (NoiseColor::White, false),
        ] {
            let simulator = Simulator::new(SimulationConfig { noise, ..config(side) }).unwrap();
            let volume = simulator.simulate(&lopsided("beads"), 1, 0).unwrap();
            let spectrum = spectrum(&volume);
            let strongest = spectrum.iter().map(|(_, value)| value.norm()).fold(0.0, f64::max);
            // The wedge by its angle, not by the crate's own mask: the beam is along z, the axis y.
            let missing: Vec<f64> = spectrum
                .iter()
                .filter(|([z, _, x], _)| z.abs().atan2(x.abs()).to_degrees() > 60.001)
                .map(|(_, value)| value.norm() / strongest)
                .collect();
            // A third of the volume, but for the grid.
            let part = missing.len() as f64 / spectrum.len() as f64;
            assert!((0.2..0.34).contains(&part), "{part}");
            let largest = missing.iter().copied().fold(0.0, f64::max);
            assert_eq!(largest < 1e-6, empty, "{noise:?}: {largest}");
            let seen = spectrum
                .iter()
                .filter(|([z, _, x], value)| {
                    z.abs().atan2(x.abs()).to_degrees() < 59.999 && value.norm() > 1e-6 * strongest
                })
                .count();
            assert!(seen as f64 > 0.5 * spectrum.len() as f64, "{seen}");
        }
    }
}

#[test]
fn contrast_transfer_is_the_textbook_one() {
    let default = SimulationConfig::default();
    // By hand: λ(300 kV) = 0.019687 Å; at k = 0.02/Å (0.2 cycles per voxel of 10 Å)
    // πλΔz k² = 1.23699, (π/2)Cs λ³ k⁴ = 0.0000518, exp(−0.25) = 0.77880.
    let expected = -(1.236_99f64 - 0.000_051_8).sin() * 0.778_80;
    assert_abs_diff_eq!(default.contrast_transfer(0.2), expected, epsilon = 2e-4);
    // λ(100 kV) = 0.037014 Å.
    let low = SimulationConfig { voltage: 100.0, ..default };
    let expected = -(std::f64::consts::PI * 0.037_014 * 5e4 * 4e-4f64).sin() * 0.778_80;
    assert_abs_diff_eq!(low.contrast_transfer(0.2), expected, epsilon = 1e-3);
    let amplitude = SimulationConfig { amplitude_contrast: 0.1, ..default };
    assert_abs_diff_eq!(amplitude.contrast_transfer(0.0), -0.1, epsilon = 1e-12);
    // Cs = 20 mm at 1 cycle per 8 Å or less counts: its sign is against underfocus.
    let aberrant = SimulationConfig { spherical_aberration: 20.0, voxel_size: 8.0, ..default };
    let sharp = SimulationConfig { spherical_aberration: 0.0, voxel_size: 8.0, ..default };
    let phase = std::f64::consts::PI * 0.019_687 * 5e4 * 0.0625f64.powi(2);
    let lag = std::f64::consts::FRAC_PI_2 * 20e7 * 0.019_687f64.powi(3) * 0.0625f64.powi(4);
    let envelope = (-(0.5f64 / 0.4).powi(2)).exp();
    assert_abs_diff_eq!(sharp.contrast_transfer(0.5), -phase.sin() * envelope, epsilon = 1e-3);
    assert_abs_diff_eq!(aberrant.contrast_transfer(0.5), -(phase - lag).sin() * envelope, epsilon = 1e-3);
    assert!(lag > 0.03);
}

#[test]
fn signal_passes_the_contrast_transfer_function() {
    // The same pose through the default optics and through optics that only invert.
    let inverting = SimulationConfig {
        underfocus: 0.0,
        spherical_aberration: 0.0,
        amplitude_contrast: 1.0,
        envelope: 100.0,
        max_tilt: 90.0,
        ..config(20)
    };
    let template = lopsided("beads");
    let signal = |config| {
        let parts = Simulator::new(config).unwrap().parts(&template, 4, 1).unwrap();
        spectrum(&parts.signal)
    };
    let (plain, seen) = (signal(inverting), signal(config(20)));
    let strongest = plain.iter().map(|(_, value)| value.norm()).fold(0.0, f64::max);
    let mut checked = 0;
    for (([z, y, x], plain), (_, seen)) in plain.into_iter().zip(seen) {
        // On the mask's edge rounding decides.
        if (z.abs() - 3f64.sqrt() * x.abs()).abs() < 1e-9 && x.abs() > 0.0 {
            continue;
        }
        let kept = f64::from(u8::from(z.abs() <= 3f64.sqrt() * x.abs()));
        let k = (z * z + y * y + x * x).sqrt();
        let expected = plain * -config(20).contrast_transfer(k) * kept;
        assert!((seen - expected).norm() < 1e-5 * strongest, "{z} {y} {x}: {seen} {expected}");
        checked += 1;
    }
    assert!(checked > 7000);
}

#[test]
fn protein_is_dark() {
    let simulator = Simulator::new(config(32)).unwrap();
    for template in &catalogue::templates()[..4] {
        let parts = simulator.parts(template, 1, 1).unwrap();
        let statistics = parts.signal.statistics();
        assert!(-statistics.min > statistics.max, "{}: {statistics:?}", template.name());
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let good = SimulationConfig::default();
    for (config, message) in [
        (SimulationConfig { snr: 0.0, ..good }, "invalid `snr`: expected a number above 0 and up to 1e6, got 0"),
        (SimulationConfig { snr: f64::NAN, ..good }, "invalid `snr`: expected a number above 0 and up to 1e6, got NaN"),
        (SimulationConfig { side: 7, ..good }, "invalid `side`: expected 8 to 128 voxels, got 7"),
        (SimulationConfig { side: 129, ..good }, "invalid `side`: expected 8 to 128 voxels, got 129"),
        (SimulationConfig { voxel_size: 7.99, ..good }, "invalid `voxel_size`: expected 8 to 20 Å, got 7.99"),
        (SimulationConfig { voltage: 0.0, ..good }, "invalid `voltage`: expected 10 to 2000 kV, got 0"),
        (
            SimulationConfig { spherical_aberration: -0.1, ..good },
            "invalid `spherical_aberration`: expected 0 to 20 mm, got -0.1",
        ),
        (
            SimulationConfig { underfocus: f64::INFINITY, ..good },
            "invalid `underfocus`: expected -50 to 50 µm, got inf",
        ),
        (
            SimulationConfig { amplitude_contrast: 1.01, ..good },
            "invalid `amplitude_contrast`: expected 0 to 1, got 1.01",
        ),
        (
            SimulationConfig { envelope: 0.0, ..good },
            "invalid `envelope`: expected 0.01 to 100 cycles per voxel, got 0",
        ),
        (
            SimulationConfig { max_tilt: 90.1, ..good },
            "invalid `max_tilt`: expected a number of degrees above 0 and up to 90, got 90.1",
        ),
        (
            SimulationConfig { max_tilt: 0.0, ..good },
            "invalid `max_tilt`: expected a number of degrees above 0 and up to 90, got 0",
        ),
        (
            SimulationConfig { underfocus_spread: -0.1, ..good },
            "invalid `underfocus_spread`: expected 0 to 10 µm, got -0.1",
        ),
        (
            SimulationConfig { tilt_step: Some(0.0), ..good },
            "invalid `tilt_step`: expected 0.1 to 30 degrees, or none, got 0",
        ),
        (
            SimulationConfig { tilt_step: Some(3.0), tilt_dose: f64::NAN, ..good },
            "invalid `tilt_dose`: expected 0 to 100 electrons per Å², got NaN",
        ),
        (
            SimulationConfig { tilt_dose: 3.0, ..good },
            "invalid `tilt_dose`: expected 0 where no `tilt_step` says how many tilts there are, got 3",
        ),
        (
            SimulationConfig { snr_scaling: SnrScaling::ByMass { kilodaltons: 0.0 }, ..good },
            "invalid `snr_scaling`: expected a mass above 0 and up to 1e6 kDa, got 0",
        ),
        (
            SimulationConfig { max_shift: 8.5, ..good },
            "invalid `max_shift`: expected 0 to a quarter of the side, in voxels, got 8.5",
        ),
    ] {
        assert_eq!(told(&Simulator::new(config).unwrap_err()), message);
    }
    for config in [
        SimulationConfig { side: 8, max_shift: 2.0, ..good },
        SimulationConfig { max_tilt: 90.0, max_shift: 0.0, snr: 1e6, ..good },
        SimulationConfig::s1(),
        SimulationConfig::s2(),
    ] {
        config.validate().unwrap();
    }
}

/// A tilt series by brute force: how far a frequency lies from each tilted plane.
#[test]
fn tilts_fill_slabs_of_fourier_space() {
    let series = SimulationConfig { tilt_step: Some(7.0), max_tilt: 49.0, ..config(20) };
    let tilts: Vec<f64> = series.tilts().iter().map(|(tilt, _)| *tilt).collect();
    assert_eq!(tilts.len(), 15);
    assert_eq!(tilts[..4], [0.0, 7.0, -7.0, 14.0]);
    let mut partly = 0;
    for index in 0..8000usize {
        let k = [index / 400, index / 20 % 20, index % 20].map(|c| (c as f64 - 10.0) / 20.0);
        let [z, y, x] = k;
        // Turn the frequency back by each tilt: its height above the plane, in voxels of Fourier space.
        let heights = tilts.iter().map(|tilt| {
            let angle = z.atan2(x) - tilt.to_radians();
            20.0 * (z.hypot(x) * angle.sin()).abs()
        });
        let covered: f64 = heights.map(|height| (1.0 - height).max(0.0)).sum();
        assert_abs_diff_eq!(series.transmission(k), covered.min(1.0), epsilon = 1e-9);
        partly += usize::from(covered > 0.0 && covered < 0.999);
        assert_abs_diff_eq!(series.transmission(k.map(|k| -k)), series.transmission(k), epsilon = 1e-12);
        assert_abs_diff_eq!(series.transmission([-z, y, x]), series.transmission(k), epsilon = 1e-12);
    }
    assert!(partly > 500, "{partly}");
    // A step fine enough is the wedge, but for its edge.
    let fine = SimulationConfig { tilt_step: Some(0.5), ..config(20) };
    for k in [[0.0, 0.3, 0.2], [0.1, 0.0, 0.4], [0.4, 0.1, 0.1], [0.3, 0.0, 0.0]] {
        assert_abs_diff_eq!(fine.transmission(k), f64::from(u8::from(fine.is_sampled(k))), epsilon = 1e-12);
    }
    assert!(config(20).tilts().is_empty());
    // 60 = 200 · 0.3, although 60/0.3 is a little less than 200 in binary.
    assert_eq!(SimulationConfig { tilt_step: Some(0.3), ..config(20) }.tilts().len(), 401);
}

#[test]
fn damage_is_that_of_the_critical_exposure() {
    // One tilt of 2 · 30 electrons: 30 up to its middle. At k = 1/40 Å, Nₑ = 0.24499 · 40^1.6649 + 2.8141 =
    // 0.24499 · 464.9 + 2.8141 = 116.7, so exp(−30/233.4) = 0.8794.
    let one = SimulationConfig { tilt_step: Some(10.0), max_tilt: 5.0, tilt_dose: 60.0, ..config(40) };
    assert_eq!(one.tilts(), [(0.0, 30.0)]);
    assert_abs_diff_eq!(one.transmission([0.0, 0.25, 0.0]), 0.8794, epsilon = 1e-3);
    // Many tilts: each has taken one dose more than that before, on either side of zero in turn.
    let many = SimulationConfig { tilt_step: Some(10.0), max_tilt: 20.0, tilt_dose: 2.0, ..config(40) };
    assert_eq!(many.tilts(), [(0.0, 1.0), (10.0, 3.0), (-10.0, 5.0), (20.0, 7.0), (-20.0, 9.0)]);
    // On the tilt axis all tilts count alike: the mean of their weights.
    let critical = 0.244_99 * (0.4f64 / 10.0).powf(-1.664_9) + 2.814_1;
    let mean = [1.0f64, 3.0, 5.0, 7.0, 9.0].map(|n| (-n / 2.0 / critical).exp()).iter().sum::<f64>() / 5.0;
    assert_abs_diff_eq!(many.transmission([0.0, 0.4, 0.0]), mean, epsilon = 1e-12);
    // A frequency in the plane of one tilt, too far from the others, is damaged as that one is, by its length alone.
    for (tilt, exposure) in many.tilts() {
        let (sine, cosine) = tilt.to_radians().sin_cos();
        for [along, across] in [[0.0f64, 0.3f64], [0.18, 0.24], [0.24, -0.18]] {
            let critical = 0.244_99 * (along.hypot(across) / 10.0).powf(-1.664_9) + 2.814_1;
            let found = many.transmission([across * sine, along, across * cosine]);
            assert_abs_diff_eq!(found, (-exposure / 2.0 / critical).exp(), epsilon = 1e-12);
        }
    }
}

#[test]
fn defocus_spreads_as_asked() {
    let spread = SimulationConfig { underfocus_spread: 1.5, snr: 1e6, ..config(16) };
    let template = lopsided("beads");
    let simulator = Simulator::new(spread).unwrap();
    // Each sample is that of one fixed underfocus within the spread: found by trying a grid of them.
    let grid: Vec<f64> = (0..=40).map(|step| 3.0 + f64::from(step) / 10.0).collect();
    let at = |&underfocus: &f64| Simulator::new(SimulationConfig { underfocus, ..config(16) }).unwrap();
    let fixed: Vec<Simulator> = grid.iter().map(at).collect();
    let mut found = Vec::new();
    for index in 0..8 {
        let sample = simulator.parts(&template, 3, index).unwrap();
        let distance = |simulator: &Simulator| {
            let other = simulator.parts(&template, 3, index).unwrap();
            assert_eq!(other.pose, sample.pose, "the pose is drawn first");
            let pairs = other.signal.voxels().iter().zip(sample.signal.voxels());
            let squares: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
            (squares / 4096.0).sqrt() / sample.signal.statistics().std
        };
        let distances: Vec<f64> = fixed.iter().map(distance).collect();
        let best = (0..grid.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap();
        assert!((3.4..=6.6).contains(&grid[best]), "{}", grid[best]);
        // Half a step of the grid away at most; steps of a whole micrometer are far.
        assert!(distances[best] < 0.05, "{}: {}", grid[best], distances[best]);
        assert!(distances[0].max(distances[40]) > 0.2, "{distances:?}");
        found.push(grid[best]);
    }
    let (least, most) = (found.iter().copied().fold(f64::MAX, f64::min), found.iter().copied().fold(0.0, f64::max));
    assert!(most - least > 1.0, "{found:?}");
    assert_eq!(simulator.parts(&template, 3, 5).unwrap(), simulator.parts(&template, 3, 5).unwrap());
}

#[test]
fn the_ratio_goes_by_mass_where_asked() {
    let variance = |volume: &Volume| volume.statistics().std.powi(2);
    let scaling = SnrScaling::ByMass { kilodaltons: 500.0 };
    let simulator = Simulator::new(SimulationConfig { snr: 0.04, snr_scaling: scaling, ..config(32) }).unwrap();
    for id in ["1igt", "1bxn", "4v5d"] {
        let entry = catalogue::find(id).unwrap();
        let parts = simulator.parts(&entry.template(), 9, 1).unwrap();
        let expected = 0.04 * entry.measured().kilodaltons / 500.0;
        assert_relative_eq!(variance(&parts.signal) / variance(&parts.noise), expected, max_relative = 0.01);
    }
    // Beads weigh by their electrons; a map's unit is not known.
    assert_relative_eq!(lopsided("beads").kilodaltons().unwrap(), 1800.0 / 530.0, max_relative = 1e-9);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("map.mrc");
    soft_lmccl_cect::Map::from_volume(lopsided("beads").volume(), 10.0).save(&path).unwrap();
    let map = Template::open(&path).unwrap();
    let message = "invalid `snr_scaling`: expected `every_class` where a class's mass is not known, as of density \
                   maps, got by mass, of class map";
    assert_eq!(told(&simulator.simulate(&map, 1, 1).unwrap_err()), message);
    let error = SimulatedDataset::new(vec![map], *simulator.config(), 2, 1).unwrap_err();
    assert_eq!(told(&error), message);
}

/// Larger voxels hold what a template averaged over them holds: nothing is folded back.
#[test]
fn larger_voxels_average_the_template() {
    let template = catalogue::find("3j9i").unwrap().template();
    let coarse = template.resampled(20.0).unwrap();
    assert_eq!((coarse.volume().side(), coarse.radius()), (22, template.radius()));
    assert_relative_eq!(coarse.voxel_size(), 20.0);
    let sum = |t: &Template| t.volume().voxels().iter().map(|&v| f64::from(v)).sum::<f64>();
    assert_relative_eq!(sum(&coarse), sum(&template), max_relative = 1e-6);
    // By hand at the center: a tent of two old voxels, integrated over ±10 Å, weighs the old voxels along an axis
    // −2..2 by 1/8, 7/8, 1, 7/8, 1/8 less what lies beyond: ∫ of the tent at ±1 inside ±1 voxel is 1/2.
    let weights = [0.0, 0.5, 1.0, 0.5, 0.0];
    let mut expected = 0.0;
    for (z, wz) in (18..).zip(weights) {
        for (y, wy) in (18..).zip(weights) {
            for (x, wx) in (18..).zip(weights) {
                expected += wz * wy * wx * f64::from(template.volume().get(z, y, x).unwrap());
            }
        }
    }
    assert_relative_eq!(f64::from(coarse.volume().get(11, 11, 11).unwrap()), expected, max_relative = 1e-5);
    // The data set does it by itself.
    let config = SimulationConfig { voxel_size: 20.0, ..config(16) };
    let dataset = SimulatedDataset::new(vec![template.clone()], config, 1, 4).unwrap();
    let direct = Simulator::new(config).unwrap().parts(&coarse, 4, 0).unwrap();
    assert_eq!(dataset.parts(0).unwrap(), direct);
    for voxel_size in [0.5, f64::NAN] {
        let message = told(&template.resampled(voxel_size).unwrap_err());
        let expected = "1 Å to the 400 Å of the box, and 1024 voxels of an edge at most";
        assert_eq!(message, format!("invalid `voxel_size`: expected {expected}, got {voxel_size}"));
    }
}

#[test]
fn settings_are_read_with_defaults_and_without_slips() {
    let read = serde_json::from_str::<SimulationConfig>;
    assert_eq!(read(r#"{ "noise": "aitom" }"#).unwrap().noise, NoiseColor::Aitom);
    let config = read(r#"{ "snr": 0.1, "noise": "half_half" }"#).unwrap();
    let expected = SimulationConfig { snr: 0.1, noise: NoiseColor::HalfHalf, ..Default::default() };
    assert_eq!(config, expected);
    let message = read(r#"{ "snrr": 0.1 }"#).unwrap_err().to_string();
    assert!(message.contains("unknown field `snrr`"), "{message}");
}
