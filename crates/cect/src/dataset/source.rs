//! Where one subtomogram comes from.

use std::path::{Path, PathBuf};

use crate::{
    Error, Result,
    io::{Map, Place, relion5, table::ParticleTable},
    volume::{ImageAxes, Volume, back_projected},
};

/// A volume in a file, or the images of a tilt series that make one.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Volume(Place),
    Images { path: PathBuf, axes: Vec<ImageAxes> },
}

impl Source {
    /// Of each row of a table, whose relative paths start at `root`.
    ///
    /// # Errors
    /// With the line, for stacks of images whose tilts are not known.
    pub(super) fn of(table: &ParticleTable, root: &Path, tomograms: Option<&Path>) -> Result<Vec<Self>, String> {
        let Some(series) = &table.series else {
            return Ok(table.rows.iter().map(|row| Self::Volume(row.place(root))).collect());
        };
        let Some(tomograms) = tomograms else {
            return Err(
                "names stacks of images, which need the axes of their tilts: open the optimisation_set.star, or give \
                        its tomograms.star as `tomograms`"
                    .to_owned(),
            );
        };
        let tilts = relion5::tilts(tomograms, root).map_err(|error| match &error {
            Error::Io { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        })?;
        let source = |(row, (tomogram, visible)): (&crate::io::table::Row, &(String, Vec<bool>))| {
            let line = row.line;
            let all = tilts
                .get(tomogram)
                .ok_or_else(|| format!("line {line}: the tomogram `{tomogram}` is not in {}", tomograms.display()))?;
            if all.len() != visible.len() {
                let (visible, all) = (visible.len(), all.len());
                return Err(format!("line {line}: {visible} visible frames, but `{tomogram}` has {all} tilts"));
            }
            let axes: Vec<_> =
                all.iter().zip(visible).filter(|(_, visible)| **visible).map(|(axes, _)| *axes).collect();
            if axes.is_empty() {
                return Err(format!("line {line}: no frame is visible"));
            }
            Ok(Self::Images { path: root.join(&row.file), axes })
        };
        table.rows.iter().zip(series).map(source).collect()
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Volume(place) => &place.path,
            Self::Images { path, .. } => path,
        }
    }

    /// What must not come twice.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Volume(place) => place.clone(),
            Self::Images { path, .. } => Place { path: path.clone(), number: None },
        }
    }

    /// Extents and voxel size in Angstrom, both `[z, y, x]`, from the header.
    pub(super) fn peek(&self) -> Result<([usize; 3], [f64; 3])> {
        match self {
            Self::Volume(place) => Map::peek(place),
            Self::Images { path, axes } => {
                let ([count, y, x], voxel_size) = Map::peek_images(path)?;
                if count != axes.len() {
                    let problem = format!("expected {} images, one for each visible frame, got {count}", axes.len());
                    return Err(Error::Format { path: path.clone(), problem });
                }
                Ok(([x, y, x], [voxel_size; 3]))
            }
        }
    }

    pub(super) fn volume(&self) -> Result<Volume> {
        match self {
            Self::Volume(place) => Map::open_place(place)?.into_volume(),
            Self::Images { path, axes } => {
                let images = Map::open_images(path)?;
                let [count, y, x] = images.shape();
                // The file may have been replaced since its header was read.
                if count != axes.len() || y != x {
                    let problem = format!("expected {} square images, got {count} of {y} × {x} pixels", axes.len());
                    return Err(Error::Format { path: path.clone(), problem });
                }
                Ok(back_projected(images.voxels(), x, axes))
            }
        }
    }
}
