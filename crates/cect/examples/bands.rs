//! Prints var(signal) / var(noise) of the 20S proteasome by band of frequency, and milliseconds a sample, for each named
//! simulation: `cargo run --release -p soft-lmccl-cect --example bands`.

use std::time::Instant;

use soft_lmccl_cect::{NoiseColor, SimulationConfig, Simulator, Volume, catalogue};

const BANDS: [[usize; 2]; 4] = [[1, 3], [4, 6], [7, 9], [10, 12]];
const SAMPLES: u64 = 16;

fn main() -> soft_lmccl_cect::Result<()> {
    let template = catalogue::find("3j9i").expect("in the catalogue").template();
    let named = [
        ("s2", SimulationConfig::s2()),
        ("ice", SimulationConfig { noise: NoiseColor::Ice, ..SimulationConfig::s2() }),
        ("aitom(0.05)", SimulationConfig::aitom(0.05)),
        ("relion_like", SimulationConfig::relion_like()),
        ("warp_like", SimulationConfig::warp_like()),
    ];
    println!("| simulation | 1 to 3 | 4 to 6 | 7 to 9 | 10 to 12 | ms a sample |\n|---|---|---|---|---|---|");
    for (name, config) in named {
        let simulator = Simulator::new(config)?;
        let started = Instant::now();
        let parts = (0..SAMPLES).map(|index| simulator.parts(&template, 1, index)).collect::<Result<Vec<_>, _>>()?;
        let each = started.elapsed().as_secs_f64() * 1e3 / SAMPLES as f64;
        let sum = |volumes: Vec<&Volume>| {
            volumes.into_iter().map(bands).fold([0.0; 4], |sum, bands| std::array::from_fn(|b| sum[b] + bands[b]))
        };
        let signal = sum(parts.iter().map(|parts| &parts.signal).collect());
        let noise = sum(parts.iter().map(|parts| &parts.noise).collect());
        let ratio: Vec<_> = signal.iter().zip(noise).map(|(signal, noise)| format!("{:.2e}", signal / noise)).collect();
        println!("| {name} | {} | {each:.1} |", ratio.join(" | "));
    }
    Ok(())
}

/// Power in each band of integer frequencies of the box.
fn bands(volume: &Volume) -> [f64; 4] {
    use rustfft::{FftPlanner, num_complex::Complex64};
    let side = volume.side();
    let fft = FftPlanner::new().plan_fft_forward(side);
    let mut values: Vec<Complex64> = volume.voxels().iter().map(|&v| f64::from(v).into()).collect();
    for stride in [1, side, side * side] {
        for start in (0..side.pow(3)).filter(|start| start / stride % side == 0) {
            let mut line: Vec<_> = (0..side).map(|i| values[start + i * stride]).collect();
            fft.process(&mut line);
            line.into_iter().enumerate().for_each(|(i, value)| values[start + i * stride] = value);
        }
    }
    let mut bands = [0.0; 4];
    for (index, value) in values.iter().enumerate() {
        let at = [index / (side * side), index / side % side, index % side].map(|i| i.min(side - i) as f64);
        let shell = (at.iter().map(|k| k * k).sum::<f64>().sqrt() + 0.5).floor() as usize;
        if let Some(band) = BANDS.iter().position(|&[first, last]| (first..=last).contains(&shell)) {
            bands[band] += value.norm_sqr();
        }
    }
    bands
}
