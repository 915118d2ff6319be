//! Batches, made on another thread.
//!
//! A [`Loader`] knows how each buffer is filled; a [`Stream`] is a thread that fills batches from a [`Position`] on into a queue
//! of bounded length, and waits (asleep) while it is full. The order of an epoch is a permutation drawn from (seed, epoch);
//! a training batch is always full: the samples that are left over at an epoch's end have their turn in another epoch.
//! In evaluation every sample comes once, in the order of the set, and the last batch is filled up with repetitions
//! that [`Batch::count`] leaves out.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::DataError;
use super::augment::{Augment, Planes};
use super::fit::{Plan, Want};
use super::open::{Part, Parts};
use super::set::{Kind, room};
use crate::support::Name;
use crate::support::random::Random;

/// Batches that wait to be taken, at most.
const QUEUE: usize = 4;

/// A place in a training: the next batch to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The batch in the epoch, from 0.
    pub batch: u64,
}

/// Samples for one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Its own place.
    pub position: Position,
    /// How many of its samples count; the rest repeats others.
    pub count: usize,
    /// A buffer for each [`Want`], in that order: samples one after the other.
    pub buffers: Vec<Vec<f32>>,
    names: Vec<Name>,
}

impl Batch {
    /// The buffer of that name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.names.iter().position(|n| **n == *name).map(|i| self.buffers[i].as_slice())
    }
}

/// How batches of one part are made. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Loader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    part: Part,
    plans: Vec<Plan>,
    batch: usize,
    /// The seed of order and variation; `None`: evaluation.
    seed: Option<u64>,
}

impl Loader {
    /// Batches of the training part: shuffled and varied.
    ///
    /// # Errors
    /// [`DataError::Shape`] when a field is missing or does not fit, [`DataError::Setting`] for a batch larger than the part or an
    /// augmentation that does not fit.
    pub fn training(parts: &Parts, wants: &[Want], batch: usize, seed: u64) -> Result<Self, DataError> {
        let samples = parts.train.len();
        if batch > samples {
            let message = format!("a batch of {batch} is more than the {samples} samples for training");
            return Err(DataError::Setting(message));
        }
        let loader = Self::new(parts, &parts.train, wants, batch, Some(seed))?;
        let has_grid = |plan: &Plan| plan.field.kind != Kind::Label && !plan.grid.is_empty();
        match parts.augment.iter().find_map(Augment::on_grid) {
            Some(item) if !loader.inner.plans.iter().any(has_grid) => Err(DataError::Setting(format!(
                "`{item}` of `augment` moves or cuts samples on their grid, and the data `{}` have no grid: {}",
                parts.name,
                parts.train.set.show()
            ))),
            Some(_) | None => Ok(loader),
        }
    }

    /// Batches of `part` in order, as they are but for what training's augmentation does to all (`normalise`, `crop`).
    ///
    /// # Errors
    /// As [`Self::training`].
    pub fn evaluation(parts: &Parts, part: &Part, wants: &[Want], batch: usize) -> Result<Self, DataError> {
        Self::new(parts, part, wants, batch, None)
    }

    fn new(
        parts: &Parts,
        part: &Part,
        wants: &[Want],
        batch: usize,
        seed: Option<u64>,
    ) -> Result<Self, DataError> {
        if batch == 0 {
            return Err(DataError::Setting("a batch has at least 1 sample".into()));
        }
        let set = &part.set;
        let strange = wants.iter().filter(|w| w.input && set.field(&w.name).is_none()).count();
        let plans: Result<Vec<Plan>, DataError> =
            wants.iter().map(|want| Plan::new(parts, part, want, strange == 1)).collect();
        let inner = Inner { part: part.clone(), plans: plans?, batch, seed };
        // Whether memory has room for a batch shows here, not in the middle of a training.
        inner.empty()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Batches in an epoch.
    pub fn batches(&self) -> u64 {
        let (samples, batch) = (self.inner.part.len(), self.inner.batch);
        if self.inner.seed.is_some() { (samples / batch) as u64 } else { samples.div_ceil(batch) as u64 }
    }

    /// Samples that count in an epoch.
    pub fn samples(&self) -> usize {
        let all = self.inner.part.len();
        if self.inner.seed.is_some() { all - all % self.inner.batch } else { all }
    }

    /// The samples of one batch.
    pub fn batch(&self) -> usize {
        self.inner.batch
    }

    /// One batch, made here and now.
    ///
    /// # Errors
    /// [`DataError::Memory`].
    pub fn make(&self, position: Position) -> Result<Batch, DataError> {
        let mut batch = self.inner.empty()?;
        Maker::new(self.inner.clone()).fill(position, &mut batch);
        Ok(batch)
    }

    /// Batches from `from` on, epoch after epoch, up to the end of epoch `epochs - 1`.
    ///
    /// # Errors
    /// [`DataError::Thread`].
    pub fn stream(&self, from: Position, epochs: u64) -> Result<Stream, DataError> {
        let (queue, batches) = sync_channel(QUEUE);
        let (spare, spares) = channel();
        let (inner, per_epoch) = (self.inner.clone(), self.batches());
        let thread = std::thread::Builder::new()
            .name("cnnc-data".into())
            .spawn(move || produce(inner, from, (epochs, per_epoch), &queue, &spares))
            .map_err(DataError::Thread)?;
        Ok(Stream { batches: Some(batches), spare, thread: Some(thread) })
    }
}

impl Inner {
    fn empty(&self) -> Result<Batch, DataError> {
        let buffer = |plan: &Plan| {
            let what = || format!("`{}` of a batch of {}", plan.name, self.batch);
            let len = plan.len.checked_mul(self.batch).ok_or_else(|| DataError::Memory { what: what() })?;
            room(len, &what())
        };
        let buffers = self.plans.iter().map(buffer).collect::<Result<_, _>>()?;
        let names = self.plans.iter().map(|p| p.name.clone()).collect();
        Ok(Batch { position: Position::default(), count: 0, buffers, names })
    }
}

/// What one thread keeps while it makes batches.
struct Maker {
    inner: Arc<Inner>,
    /// The order of samples of this epoch.
    order: Vec<u32>,
    epoch: Option<u64>,
    planes: Planes,
    spare: Planes,
    room: Vec<f32>,
}

impl Maker {
    fn new(inner: Arc<Inner>) -> Self {
        let order = inner.part.samples.to_vec();
        Self {
            inner,
            order,
            epoch: None,
            planes: Planes::default(),
            spare: Planes::default(),
            room: Vec::new(),
        }
    }

    fn fill(&mut self, position: Position, batch: &mut Batch) {
        let inner = self.inner.clone();
        if let Some(seed) = inner.seed
            && self.epoch != Some(position.epoch)
        {
            self.order.copy_from_slice(&inner.part.samples);
            shuffle(&mut self.order, &Random::new(seed, "order").stream(position.epoch));
            self.epoch = Some(position.epoch);
        }
        let first = position.batch as usize * inner.batch;
        batch.position = position;
        batch.count = inner.batch.min(self.order.len().saturating_sub(first));
        for (plan, buffer) in inner.plans.iter().zip(&mut batch.buffers) {
            for (i, out) in buffer.chunks_exact_mut(plan.len).enumerate() {
                let sample = self.order[(first + i) % self.order.len()];
                let random = inner.seed.map(|seed| {
                    Random::new(seed, "augment").stream(position.epoch).stream(u64::from(sample))
                });
                plan.load(sample as usize, &mut self.planes, &mut self.room);
                plan.chain.apply(&mut self.planes, &mut self.spare, random.as_ref());
                plan.store(&self.planes.data, out);
            }
        }
    }
}

/// Fisher and Yates' shuffle.
pub(super) fn shuffle(order: &mut [u32], random: &Random) {
    for i in (1..order.len()).rev() {
        order.swap(i, random.below(i as u64, i as u64 + 1) as usize);
    }
}

/// The other thread: makes batches until all are made or nobody takes them any more.
fn produce(
    inner: Arc<Inner>,
    from: Position,
    (epochs, per_epoch): (u64, u64),
    queue: &SyncSender<Result<Batch, DataError>>,
    spares: &Receiver<Batch>,
) {
    let mut maker = Maker::new(inner.clone());
    let mut position = from;
    if per_epoch == 0 {
        return;
    }
    loop {
        if position.batch >= per_epoch {
            position = Position { epoch: position.epoch + 1, batch: 0 };
        }
        if position.epoch >= epochs {
            return;
        }
        let room = spares.try_recv().map_or_else(|_| inner.empty(), Ok);
        let made = room.map(|mut batch| {
            maker.fill(position, &mut batch);
            batch
        });
        let failed = made.is_err();
        if queue.send(made).is_err() || failed {
            return;
        }
        position.batch += 1;
    }
}

/// Batches in order, from another thread. Ends with the last epoch. Dropping it ends the thread.
#[derive(Debug)]
pub struct Stream {
    batches: Option<Receiver<Result<Batch, DataError>>>,
    spare: Sender<Batch>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    /// Hands a batch back, so that its memory is used again.
    pub fn recycle(&self, batch: Batch) {
        // When the thread has ended, the batch is freed.
        let _ = self.spare.send(batch);
    }
}

impl Iterator for Stream {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(batch) = self.batches.as_ref()?.recv() {
            return Some(batch);
        }
        self.batches = None;
        // A panic of that thread is a bug, and goes on in this one.
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, and it ends.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
