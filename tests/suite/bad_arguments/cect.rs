//! The simulator with numbers that no microscope has.

use soft_lmccl::cect::{Background, Contrast, Map, SimulationConfig, Simulator, Template, Volume, catalogue, resample};

use super::spoiled;

#[test]
fn a_simulation_is_refused_or_finite() {
    let template = &catalogue::templates()[0];
    let good = SimulationConfig { side: 8, ..Default::default() };
    let (mut refused, mut made) = (0, 0);
    for (what, config) in spoiled(&good) {
        // Larger boxes are only slow.
        if config.side > 32 && config.validate().is_ok() {
            continue;
        }
        match Simulator::new(config).and_then(|simulator| simulator.simulate(template, 1, 0)) {
            Ok(volume) => {
                assert!(volume.voxels().iter().all(|voxel| voxel.is_finite()), "{what}");
                made += 1;
            }
            Err(error) => {
                let message = error.to_string();
                let unreachable_snr = message.ends_with("so no signal-to-noise ratio can be set");
                assert!(message.starts_with("invalid `") || unreachable_snr, "{what}: {message}");
                refused += 1;
            }
        }
    }
    assert!(refused > 50 && made > 20, "{refused} refused, {made} made");
}

#[test]
fn volumes_are_cubes_of_finite_numbers() {
    for (side, voxels) in [(0, vec![]), (2, vec![0.0; 7]), (2, vec![0.0; 9]), (usize::MAX, vec![0.0])] {
        assert!(Volume::new(side, voxels).is_err(), "{side}");
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(Volume::new(2, vec![0.0, 0.0, value, 0.0, 0.0, 0.0, 0.0, 0.0]).is_err());
    }
    // A volume without contrast has no standard deviation to divide by.
    for value in [0.0, -0.0, 1.0, 1e-45, f32::MAX] {
        assert!(Volume::new(2, vec![value; 8]).unwrap().standardized().is_err(), "{value}");
    }
    let tiny = Volume::new(2, (0..8).map(|voxel| voxel as f32 * 1e-45).collect()).unwrap();
    if let Ok(standardized) = tiny.standardized() {
        assert!(standardized.voxels().iter().all(|voxel| voxel.is_finite()));
    }
}

#[test]
fn what_is_saved_can_be_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("map.mrc");
    let volume = Volume::new(2, vec![1.0; 8]).unwrap();
    for size in [0.0, 1.0, 1e30, f64::NAN, -3.0, f64::INFINITY, 1e300] {
        match Map::from_volume(&volume, size).save(&path) {
            Ok(()) => {
                Map::open(&path).unwrap();
            }
            Err(error) => assert_eq!(
                error.to_string(),
                format!(
                    "invalid `voxel_size`: expected 0 Å or more, and a cell that single precision holds, got {size}"
                )
            ),
        }
        assert_eq!(path.exists(), (0.0..1e31).contains(&size), "{size}");
        let _ = std::fs::remove_file(&path);
    }
}

#[test]
fn boxes_that_no_memory_holds_are_refused() {
    let volume = Volume::new(2, vec![1.0; 8]).unwrap();
    for side in [0, 1 << 20, usize::MAX] {
        let message = volume.centered(side).unwrap_err().to_string();
        assert_eq!(message, format!("volume: a side of {side} voxels cannot be used"));
    }
    let template = &catalogue::templates()[0];
    for size in [0.0, -1.0, 400.5, 1e300, f64::INFINITY, f64::NAN] {
        assert_eq!(
            template.resampled(size).unwrap_err().to_string(),
            format!(
                "invalid `voxel_size`: expected 1 Å to the 400 Å of the box, and 1024 voxels of an edge at most, got {size}"
            )
        );
    }
    let tomogram = Map::from_volume(&Volume::new(16, vec![1.0; 4096]).unwrap(), 10.0);
    let background = Background::new(tomogram, Contrast::DarkProtein).unwrap();
    background.check(8, 10.0).unwrap();
    for (side, size) in [(8, f64::INFINITY), (usize::MAX, 12.0), (usize::MAX, 10.0), (0, 10.0), (0, 12.0)] {
        let message = background.check(side, size).unwrap_err().to_string();
        assert!(message.starts_with("invalid `side`: "), "{message}");
    }
}

#[test]
fn a_map_without_a_sensible_voxel_is_refused() {
    let blob = Volume::new(8, (0..512).map(|voxel| if voxel == 292 { 1.0 } else { 0.0 }).collect()).unwrap();
    for size in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
        if let Ok(resampled) = resample(&Map::from_volume(&blob, size), 40) {
            assert!(resampled.volume.voxels().iter().all(|voxel| voxel.is_finite()), "{size}");
            panic!("voxels of {size} Å");
        }
    }
    assert!(Template::new("nothing", &[]).is_err());
}
