//! Where RELION 5 keeps what its stacks of images need: the axes of each tilt.
//!
//! A particle is a stack of the images in which it is visible. `rlnTomoVisibleFrames` says which they are. The tilt series of
//! a tomogram has either matrices (`rlnTomoProjX`, `rlnTomoProjY`) or angles in degrees: the specimen is turned by
//! `rlnTomoXTilt` about x, then by `rlnTomoYTilt` about y, then by `rlnTomoZRot` about z, and projected along z.
//! `optimisation_set.star` names the table of particles (`rlnTomoParticlesFile`) and that of tomograms
//! (`rlnTomoTomogramsFile`), which names a file for each tilt series (`rlnTomoTiltSeriesStarFile`).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{input, star};
use crate::{Error, Result, volume::ImageAxes};

/// The tables that an `optimisation_set.star` names, particles and tomograms; `None` if the file is something else.
pub(crate) fn optimisation_set(path: &Path) -> Result<Option<[String; 2]>> {
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("star")) {
        return Ok(None);
    }
    let text = input::read_text(path)?;
    let Ok(blocks) = star::read(&text) else { return Ok(None) };
    Ok(blocks.iter().find_map(|block| {
        let value = |name: &str| Some(block.rows.first()?.1[place(block, name)?].to_owned());
        Some([value("rlnTomoParticlesFile")?, value("rlnTomoTomogramsFile")?])
    }))
}

/// The tilts of each tomogram by its name.
pub(crate) fn tilts(tomograms: &Path, root: &Path) -> Result<HashMap<String, Vec<ImageAxes>>> {
    let of_file = |problem: String| Error::Format { path: tomograms.to_owned(), problem };
    let text = input::read_text(tomograms)?;
    let blocks = star::read(&text).map_err(of_file)?;
    let named = blocks
        .iter()
        .find_map(|block| Some((block, place(block, "rlnTomoName")?, place(block, "rlnTomoTiltSeriesStarFile")?)));
    let Some((block, name, file)) = named else {
        return Err(of_file("has no columns rlnTomoName and rlnTomoTiltSeriesStarFile".to_owned()));
    };
    block.rows.iter().map(|(_, row)| Ok((row[name].to_owned(), series(&root.join(row[file]))?))).collect()
}

/// The tilts of one series.
fn series(path: &PathBuf) -> Result<Vec<ImageAxes>> {
    let of_file = |problem: String| Error::Format { path: path.to_owned(), problem };
    let text = input::read_text(path)?;
    let blocks = star::read(&text).map_err(of_file)?;
    let found = blocks.iter().find_map(|block| Some((block, Columns::of(block)?)));
    let Some((block, columns)) = found else {
        return Err(of_file(
            "has neither matrices (rlnTomoProjX, rlnTomoProjY) nor angles (rlnTomoXTilt, rlnTomoYTilt, rlnTomoZRot)"
                .into(),
        ));
    };
    let axes = |(line, row): &(usize, Vec<&str>)| {
        columns.axes(row).map_err(|problem| of_file(format!("line {line}: {problem}")))
    };
    block.rows.iter().map(axes).collect()
}

enum Columns {
    Matrix([usize; 2]),
    Angles([usize; 3]),
}

impl Columns {
    fn of(block: &star::StarTable<'_>) -> Option<Self> {
        let all = |names: &[&str]| names.iter().map(|name| place(block, name)).collect::<Option<Vec<_>>>();
        if let Some(places) = all(&["rlnTomoProjX", "rlnTomoProjY"]) {
            return Some(Self::Matrix([places[0], places[1]]));
        }
        all(&["rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot"])
            .map(|places| Self::Angles([places[0], places[1], places[2]]))
    }

    fn axes(&self, row: &[&str]) -> Result<ImageAxes, String> {
        match self {
            Self::Matrix(places) => {
                let [x, y] = places.map(|place| unit(row[place]));
                let axes = ImageAxes { x: x?, y: y? };
                let dot: f64 = axes.x.iter().zip(axes.y).map(|(x, y)| x * y).sum();
                if dot.abs() > 1e-3 {
                    return Err(format!(
                        "expected axes at right angles, got `{}` and `{}`",
                        row[places[0]], row[places[1]]
                    ));
                }
                Ok(axes)
            }
            Self::Angles(places) => {
                let mut angles = [0.0; 3];
                for (angle, &place) in angles.iter_mut().zip(places) {
                    let text = row[place];
                    *angle = text
                        .parse()
                        .ok()
                        .filter(|angle: &f64| angle.is_finite())
                        .ok_or_else(|| format!("`{text}` is no angle"))?;
                }
                Ok(of_angles(angles))
            }
        }
    }
}

/// The first two rows of `Rz(zrot)·Ry(ytilt)·Rx(xtilt)`, angles in degrees.
fn of_angles([x_tilt, y_tilt, z_rotation]: [f64; 3]) -> ImageAxes {
    let ((sx, cx), (sy, cy), (sz, cz)) =
        (x_tilt.to_radians().sin_cos(), y_tilt.to_radians().sin_cos(), z_rotation.to_radians().sin_cos());
    ImageAxes {
        x: [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        y: [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
    }
}

/// The direction of `[a,b,c,d]`, of which `d` is a shift.
fn unit(text: &str) -> Result<[f64; 3], String> {
    let numbers =
        list(text).filter(|numbers| numbers.len() == 4).ok_or_else(|| format!("`{text}` is no row of a matrix"))?;
    let direction = [numbers[0], numbers[1], numbers[2]];
    let length = direction.iter().map(|number| number * number).sum::<f64>().sqrt();
    if length.is_finite() && length > 1e-6 {
        return Ok(direction.map(|number| number / length));
    }
    Err(format!("`{text}` has no direction"))
}

/// Which tilts `[1,0,1]` shows.
pub(crate) fn visible(text: &str) -> Option<Vec<bool>> {
    list(text).map(|numbers| numbers.into_iter().map(|number| number > 0.5).collect())
}

fn list(text: &str) -> Option<Vec<f64>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    inner.split(',').map(|number| number.trim().parse().ok()).collect()
}

fn place(block: &star::StarTable<'_>, name: &str) -> Option<usize> {
    block.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_turn_about_x_then_y_then_z() {
        let near = |axes: ImageAxes, x: [f64; 3], y: [f64; 3]| {
            let far = axes.x.iter().zip(x).chain(axes.y.iter().zip(y)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far < 1e-12, "{axes:?}");
        };
        near(of_angles([0.0; 3]), [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        near(of_angles([90.0, 0.0, 0.0]), [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]);
        near(of_angles([0.0, 90.0, 0.0]), [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]);
        near(of_angles([0.0, 0.0, 90.0]), [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]);
        // Each of the later ones turns what the earlier ones have turned.
        near(of_angles([90.0, 90.0, 0.0]), [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]);
        near(of_angles([0.0, 90.0, 90.0]), [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]);
    }

    #[test]
    fn lists_are_read_as_they_are_written() {
        assert_eq!(visible("[1, 0,1]"), Some(vec![true, false, true]));
        assert_eq!(visible("1,0"), None);
        assert_eq!(unit("[0,2.0,0,117.5]"), Ok([0.0, 1.0, 0.0]));
        assert!(unit("[0,0,0,1]").is_err() && unit("[1,0,0]").is_err());
    }
}
