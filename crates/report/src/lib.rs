//! Pictures of a study and its report, as self-contained files.
//!
//! | function | shows |
//! |---|---|
//! | [`slices`] | one slice of each class, clean and noisy, in groups |
//! | [`roc`] | TAR against FAR, on a logarithmic FAR axis |
//! | [`det`] | FRR against FAR, on axes of normal deviates |
//! | [`embedding_map`] | embeddings in two dimensions ([`pca_2d`], [`tsne_2d`]), one panel a loss |
//! | [`line_panels`] | score histograms, training curves: one panel a loss |
//! | [`heat_table`] | rates by class and loss |
//! | [`cohort_table`] | FMR or FNMR between cohorts |
//! | [`threshold_curves`] | FAR, FRR and their intervals against the threshold |
//! | [`Page`] | a report of text, tables and pictures as one HTML file |
//!
//! The functions take plain numbers, so that results of any origin can be drawn. A picture is one SVG, written beside
//! its place and renamed: there is never half of one. On a dark page it turns dark. The colors are those of Okabe and
//! Ito, which people with color-blindness can tell apart.

mod axis;
mod canvas;
mod det;
mod embedding_map;
mod error;
mod heat_table;
mod page;
mod panels;
mod pca;
mod roc;
mod slices;
mod thresholds;
mod tsne;

pub use det::det;
pub use embedding_map::{EmbeddingPanel, embedding_map};
pub use error::{Error, Result};
pub use heat_table::{CohortRate, cohort_table, heat_table};
pub use page::{Page, Section, Table, TableCell};
pub use panels::{LineAxes, LinePanel, line_panels};
pub use pca::pca_2d;
pub use roc::{RocSeries, roc};
pub use slices::{SliceGroup, SliceRow, slices};
pub use thresholds::threshold_curves;
pub use tsne::tsne_2d;
