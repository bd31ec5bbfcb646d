//! Pictures of a study: self-contained SVG files that read well on a white page.
//!
//! | function | shows |
//! |---|---|
//! | [`slices`] | one slice of each class, clean and noisy, in groups |
//! | [`roc`] | TAR against FAR, on a logarithmic FAR axis |
//! | [`embedding_map`] | embeddings in two dimensions ([`pca_2d`]), one panel a loss |
//!
//! They take plain numbers, so that results of any origin can be drawn. A picture is written beside
//! its place and renamed, so that there is never half of one. Colors are those of Okabe and Ito,
//! which people with color-blindness can tell apart.

mod canvas;
mod embedding_map;
mod pca;
mod roc;
mod slices;

pub use embedding_map::{EmbeddingPanel, embedding_map};
pub use pca::pca_2d;
pub use roc::{RocSeries, roc};
pub use slices::{SliceGroup, SliceRow, slices};
