//! Batches made while the last one is in use.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread::JoinHandle,
};

use super::{Dataset, Sample, render};
use crate::Result;

/// Batches of samples in order, made ahead on all threads while the receiver works on earlier ones.
///
/// A streamed run never holds more than `depth + 2` batches: the waiting ones, the one in the making and the one in
/// use. For 64 subtomograms of 40³ and a depth of 2 that is 63 MiB, however large the data set is.
///
/// It ends after the last batch or the first error; dropping it stops the making.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use soft_lmccl_cect::{Prefetch, SimulatedDataset, SimulationConfig, catalogue};
///
/// let config = SimulationConfig { side: 16, ..Default::default() };
/// let dataset = Arc::new(SimulatedDataset::new(catalogue::templates().split_off(21), config, 3, 1)?);
/// let batches = vec![vec![0, 5], vec![3], vec![6]];
/// let mut prefetch = Prefetch::new(dataset, batches, 1);
/// assert_eq!(prefetch.next().unwrap()?.len(), 2);
/// assert_eq!(prefetch.next().unwrap()?.len(), 1);
/// let message = prefetch.next().unwrap().unwrap_err().to_string();
/// assert_eq!(message, "invalid `index`: expected less than 6, got 6");
/// assert!(prefetch.next().is_none());
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug)]
pub struct Prefetch {
    receiver: Option<Receiver<Result<Vec<Sample>>>>,
    worker: Option<JoinHandle<()>>,
}

impl Prefetch {
    /// Starts to make `batches` of indices, `depth` of them ahead (0 waits for the receiver).
    pub fn new<D, B>(dataset: Arc<D>, batches: B, depth: usize) -> Self
    where
        D: Dataset + ?Sized + 'static,
        B: IntoIterator<Item = Vec<usize>>,
        B::IntoIter: Send + 'static,
    {
        let (sender, receiver) = sync_channel(depth);
        let batches = batches.into_iter();
        let worker = std::thread::spawn(move || {
            for batch in batches {
                let samples = render(dataset.as_ref(), &batch, |_| {});
                let failed = samples.is_err();
                if sender.send(samples).is_err() || failed {
                    return;
                }
            }
        });
        Self { receiver: Some(receiver), worker: Some(worker) }
    }
}

impl Iterator for Prefetch {
    type Item = Result<Vec<Sample>>;

    /// # Panics
    /// If making a sample panicked: a missing batch must not pass for the end.
    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(batch) = self.receiver.as_ref()?.recv() {
            return Some(batch);
        }
        self.receiver = None;
        if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        // A worker that waits to send finds nobody there and ends.
        self.receiver = None;
        if let Some(worker) = self.worker.take() {
            // A panic of the worker belongs to `next`; here it would end the program.
            let _ = worker.join();
        }
    }
}
