//! Tiles by libtorch, on any of its devices: keys are made and counted there too.

use tch::{Device, Kind, Tensor, no_grad_guard};

use super::counts::ScoreCounts;
use super::source::Source;
use super::{AllPairs, CountProgress, Pairs, Part, Watch};
use super::{
    layout::{Layout, Span},
    pairs::Embedded,
};
use crate::grid::{KEYS as GRID_KEYS, LOWEST as LOWEST_ROUNDED, ROUND as GRID_ROUND, STEPS as GRID_STEPS};
use crate::{Error, Result};

/// Rows that are normalized at a time.
const ROWS_AT_A_TIME: i64 = 1 << 14;
/// The largest tile chosen by default: enough work for any device.
const LARGEST_TILE: usize = 4096;
/// Bytes for each pair of a tile: its score, its key, its place in the mask of the diagonal.
const PAIR_BYTES: usize = size_of::<f32>() + size_of::<i64>() + 1;
const KEYS: i64 = GRID_KEYS as i64;

/// Unit-length embeddings on any device of libtorch, and their labels.
///
/// It is the [`EmbeddingSet`](crate::EmbeddingSet) of a device: rows are normalized in `f64` and rounded to `f32`.
///
/// # Examples
/// ```
/// use tch::{Device, Kind, Tensor};
/// use soft_lmccl_metrics::verify::{AllPairs, DeviceSet};
///
/// let embeddings = Tensor::eye(6, (Kind::Float, Device::cuda_if_available()));
/// let set = DeviceSet::new(&embeddings, &Tensor::from_slice(&[0i64, 0, 1, 1, 2, 2]))?;
/// let histogram = AllPairs::default().count(&set)?;
/// assert_eq!((histogram.counts().matching, histogram.counts().non_matching), (3, 12));
/// assert_eq!(histogram.auc(), 0.5); // all cosines are 0
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug)]
pub struct DeviceSet {
    unit: Tensor,
    labels: Vec<u32>,
}

impl DeviceSet {
    /// Checks and normalizes the rows on their device.
    ///
    /// # Shapes
    /// * `embeddings`: `[N, D]`, of a floating kind; taken as `f32`
    /// * `labels`: `[N]`, `Int64`, from 0 to `u32::MAX`, on any device
    ///
    /// # Errors
    /// * [`Error::Tensor`] for another rank or kind, an undefined tensor, a row of `f64` that does not fit `f32`, or
    ///   a device whose products are not full `f32` (TF32 moves thresholds)
    /// * the [`Error`]s of [`EmbeddingSet::new`](crate::EmbeddingSet::new)
    pub fn new(embeddings: &Tensor, labels: &Tensor) -> Result<Self> {
        let _guard = no_grad_guard();
        let (rows, dim) = shape(embeddings)?;
        let labels = host_labels(labels)?;
        if rows == 0 || dim == 0 {
            return Err(Error::NoEmbeddings { rows, dim });
        }
        if labels.len() != rows {
            return Err(Error::EmbeddingLength { embeddings: rows, labels: labels.len() });
        }
        require_full_precision(embeddings.device())?;
        let mut unit = Vec::new();
        for start in (0..rows as i64).step_by(ROWS_AT_A_TIME as usize) {
            let chunk = embeddings.f_narrow(0, start, ROWS_AT_A_TIME.min(rows as i64 - start))?;
            unit.push(unit_rows(&chunk, start as usize)?);
        }
        let class = |(row, label): (usize, i64)| u32::try_from(label).map_err(|_| Error::EmbeddingLabel { row, label });
        let labels = labels.into_iter().enumerate().map(class).collect::<Result<_, _>>()?;
        Ok(Self { unit: Tensor::f_cat(&unit, 0)?, labels })
    }

    /// The device of the rows.
    pub fn device(&self) -> Device {
        self.unit.device()
    }
}

impl Embedded for DeviceSet {
    fn dim(&self) -> usize {
        self.unit.size()[1] as usize
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }
}

/// `tch` panics when asked for the kind of an undefined tensor.
fn require_defined(what: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.defined() {
        return Ok(());
    }
    Err(Error::Tensor { what, expected: "values".into(), got: "an undefined tensor".into() })
}

fn shape(embeddings: &Tensor) -> Result<(usize, usize)> {
    require_defined("embeddings", embeddings)?;
    let floating = matches!(embeddings.kind(), Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16);
    match (embeddings.size().as_slice(), floating) {
        (&[rows, dim], true) => Ok((rows as usize, dim as usize)),
        (size, _) => Err(Error::Tensor {
            what: "embeddings",
            expected: "[N, D], floating".to_owned(),
            got: format!("{size:?}, {:?}", embeddings.kind()),
        }),
    }
}

fn host_labels(labels: &Tensor) -> Result<Vec<i64>> {
    require_defined("labels", labels)?;
    if labels.dim() != 1 || labels.kind() != Kind::Int64 {
        return Err(Error::Tensor {
            what: "labels",
            expected: "[N], Int64".to_owned(),
            got: format!("{:?}, {:?}", labels.size(), labels.kind()),
        });
    }
    Ok(Vec::try_from(labels.f_to_device(Device::Cpu)?.f_contiguous()?)?)
}

/// Rows of length 1; `first` is the number of the first row.
fn unit_rows(given: &Tensor, first: usize) -> Result<Tensor> {
    let rows = given.f_to_kind(Kind::Float)?;
    let wide = rows.f_to_kind(Kind::Double)?;
    let norms = wide.f_square()?.f_sum_dim_intlist([1i64].as_slice(), true, None::<Kind>)?.f_sqrt()?;
    let lengths: Vec<f64> = Vec::try_from(norms.f_flatten(0, 1)?.f_to_device(Device::Cpu)?)?;
    if let Some(at) = lengths.iter().position(|length| !(length.is_finite() && *length > 0.0)) {
        let row = first + at;
        require_single_precision(&given.f_get(at as i64)?, row)?;
        let values: Vec<f32> = Vec::try_from(rows.f_get(at as i64)?.f_to_device(Device::Cpu)?)?;
        let not_finite = values.iter().enumerate().find(|(_, value)| !value.is_finite());
        return Err(match not_finite {
            Some((column, &value)) => Error::EmbeddingNotFinite { row, column, value },
            None => Error::ZeroEmbedding { row },
        });
    }
    Ok(wide.f_div(&norms)?.f_to_kind(Kind::Float)?)
}

/// Refuses a row of finite numbers, not all zero, that `f32` turns into infinities or zeros only.
fn require_single_precision(given: &Tensor, row: usize) -> Result<()> {
    let values: Vec<f64> = Vec::try_from(given.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?)?;
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if values.iter().any(|value| value.is_nan()) || largest.is_infinite() || largest <= 0.0 {
        return Ok(()); // wrong in double precision too, and refused as that
    }
    Err(Error::Tensor {
        what: "embeddings",
        expected: "values that fit single precision".to_owned(),
        got: format!("{largest:e} as the largest of row {row}"),
    })
}

/// Refuses a device that is set to round the factors of a product (TF32 keeps 10 bits, BF16 7).
fn require_full_precision(device: Device) -> Result<()> {
    const SIDE: i64 = 64;
    let eleven_bits = 1.0 + f64::powi(2.0, -11);
    let product = Tensor::f_full([SIDE, SIDE], eleven_bits, (Kind::Float, device))?
        .f_matmul(&Tensor::f_eye(SIDE, (Kind::Float, device))?)?;
    let largest_error = product.f_sub_scalar(eleven_bits)?.f_abs()?.f_max()?.f_double_value(&[])?;
    if largest_error > 0.0 {
        return Err(Error::Tensor {
            what: "device",
            expected: "matrix products in full f32, that is without TF32".to_owned(),
            got: format!("{device:?}, whose products round 1 + 2^-11"),
        });
    }
    Ok(())
}

impl Source for DeviceSet {
    fn count(pairs: Pairs<'_, Self>, how: &AllPairs, part: Part, progress: Watch<'_>) -> Result<ScoreCounts> {
        let _guard = no_grad_guard();
        let tile = tile(&pairs, how)?;
        let layout = Layout::new(&pairs.rows.labels, pairs.columns.map(|columns| columns.labels.as_slice()));
        let tiles = layout.tiles(tile, part);
        let (mut done, total) = (0, tiles.pairs());
        CountProgress::start(total, progress)?;
        let mut worker = Worker::new(pairs, &layout, tile)?;
        for (rows, columns) in (0..).map_while(|number| tiles.get(number)) {
            let pairs = worker.count_tile(rows, columns)?;
            done += pairs;
            // A diagonal tile of one row has no pairs and is no progress.
            if pairs > 0 && progress(CountProgress { done, total }).is_break() {
                return Err(Error::Stopped { done, total, units: "pairs" });
            }
        }
        worker.counts()
    }
}

/// The tile asked for, or the largest that the budget allows.
fn tile(pairs: &Pairs<'_, DeviceSet>, how: &AllPairs) -> Result<usize> {
    let (rows, columns) = (pairs.rows.labels.len(), pairs.columns.map(|columns| columns.labels.len()));
    let longest = rows.max(columns.unwrap_or(0));
    let members = (rows + columns.unwrap_or(rows)) * size_of::<i64>();
    let layout = Layout::bytes(rows, columns) + members as u64;
    // The counters on the device; of one kind at a time the nonzero counters and, twice, their copy to the host; and
    // the counts on the host.
    let counters = (5 * KEYS as u64 + 1) * size_of::<i64>() as u64 + ScoreCounts::BYTES;
    let bytes = |tile: usize| {
        let operands = 2 * tile * pairs.rows.dim() * size_of::<f32>();
        layout + counters + (tile * tile * PAIR_BYTES + operands) as u64
    };
    let smallest = how.tile.unwrap_or(64);
    let too_large = |tile: &usize| bytes(*tile) > how.memory_budget;
    if too_large(&smallest) {
        return Err(Error::config(
            "memory_budget",
            format!("at least {} bytes for these embeddings", bytes(smallest)),
            how.memory_budget,
        ));
    }
    let doubled = std::iter::successors(Some(smallest), |tile| Some(tile * 2).filter(|tile| !too_large(tile)));
    Ok(match how.tile {
        Some(tile) => tile,
        None => doubled.take_while(|tile| *tile <= LARGEST_TILE && *tile < 2 * longest).last().unwrap_or(smallest),
    })
}

/// The buffers and counters, on the device.
struct Worker<'a> {
    pairs: Pairs<'a, DeviceSet>,
    layout: &'a Layout,
    scores: Tensor,
    keys: Tensor,
    /// Where a tile on the diagonal has no pair.
    no_pair: Tensor,
    one: Tensor,
    /// Subtracted from the bits of a rounded score, it gives the key. On the host: each device can read it.
    lowest: Tensor,
    /// Non-matching pairs by key, then matching ones, then entries without a pair.
    counters: Tensor,
    /// The members that are rows and columns. They are uploaded once: an upload waits for the tile before.
    row_members: Tensor,
    column_members: Tensor,
}

impl<'a> Worker<'a> {
    fn new(pairs: Pairs<'a, DeviceSet>, layout: &'a Layout, tile: usize) -> Result<Self> {
        let device = pairs.rows.device();
        let side = tile as i64;
        Ok(Self {
            pairs,
            layout,
            scores: Tensor::f_empty([side * side], (Kind::Float, device))?,
            keys: Tensor::f_empty([side * side], (Kind::Int64, device))?,
            no_pair: Tensor::f_ones([side, side], (Kind::Bool, device))?.f_tril(0)?,
            one: Tensor::f_ones([1], (Kind::Int64, device))?,
            lowest: Tensor::from(i64::from(LOWEST_ROUNDED)),
            counters: Tensor::f_zeros([2 * KEYS + 1], (Kind::Int64, device))?,
            row_members: uploaded((0..layout.num_rows()).map(|row| layout.row_member(row)), device)?,
            column_members: uploaded((0..layout.num_columns()).map(|column| layout.column_member(column)), device)?,
        })
    }

    /// Counts the pairs of a tile; returns how many.
    fn count_tile(&mut self, rows: Span, columns: Span) -> Result<u64> {
        let (height, width) = (rows.len() as i64, columns.len() as i64);
        let left = gather(self.pairs.rows, &self.row_members, &rows)?;
        let right = gather(self.pairs.columns.unwrap_or(self.pairs.rows), &self.column_members, &columns)?;
        let mut scores = self.scores.f_narrow(0, 0, height * width)?.f_view([height, width])?;
        // Scaled to steps before the product, which is exact, then rounded as on the host: each operation is a pass
        // over the tile.
        let steps = f64::from(GRID_STEPS);
        let _ = left.f_mul_scalar(steps)?.f_matmul_out(&scores, &right.f_tr()?)?;
        let _ = scores.f_clamp_(-steps, steps)?.f_add_scalar_(f64::from(GRID_ROUND))?;
        let mut keys = self.keys.f_narrow(0, 0, height * width)?.f_view([height, width])?;
        let _ = scores.f_view_dtype(Kind::Int)?.f_sub_out(&keys, &self.lowest)?;

        for class in self.layout.classes(rows.clone()) {
            // On the diagonal the columns of a class's first row include those of its other rows; the excess is
            // masked below.
            let [_, same, _] = self.layout.split(class.start, columns.clone());
            if !same.is_empty() {
                let _ = keys
                    .f_narrow(0, (class.start - rows.start) as i64, class.len() as i64)?
                    .f_narrow(1, (same.start - columns.start) as i64, same.len() as i64)?
                    .f_add_scalar_(KEYS)?;
            }
        }
        let on_diagonal = self.pairs.columns.is_none() && rows == columns;
        if on_diagonal {
            let no_pair = self.no_pair.f_narrow(0, 0, height)?.f_narrow(1, 0, width)?;
            let _ = keys.f_masked_fill_(&no_pair, 2 * KEYS)?;
        }
        let keys = keys.f_view([-1])?;
        let _ = self.counters.f_scatter_add_(0, &keys, &self.one.f_expand(keys.size(), false)?)?;
        Ok(if on_diagonal { rows.len() * (rows.len() - 1) / 2 } else { rows.len() * columns.len() } as u64)
    }

    /// Only keys with pairs leave the device: all keys would take longer than a short run.
    fn counts(self) -> Result<ScoreCounts> {
        let counts = ScoreCounts::empty();
        for (same, start) in [(false, 0), (true, KEYS)] {
            let counters = self.counters.f_narrow(0, start, KEYS)?;
            let occupied = counters.f_nonzero()?;
            if occupied.numel() > 0 {
                let (first, last) = (occupied.f_min()?.f_int64_value(&[])?, occupied.f_max()?.f_int64_value(&[])?);
                let counters = counters.f_narrow(0, first, last - first + 1)?.f_to_device(Device::Cpu)?;
                counts.put_all(same, first as usize, &Vec::try_from(counters)?);
            }
        }
        Ok(counts)
    }
}

fn uploaded(members: impl Iterator<Item = usize>, device: Device) -> Result<Tensor> {
    let members: Vec<i64> = members.map(|member| member as i64).collect();
    Ok(Tensor::f_from_slice(&members)?.f_to_device(device)?)
}

fn gather(set: &DeviceSet, members: &Tensor, span: &Span) -> Result<Tensor> {
    Ok(set.unit.f_index_select(0, &members.f_narrow(0, span.start as i64, span.len() as i64)?)?)
}
