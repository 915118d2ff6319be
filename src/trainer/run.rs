//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::build::{Built, EACH, Look, build};
use super::checkpoint::{self, State, Tensors};
use super::error::{NotFinite, TrainError};
use super::metric::{Figure, Table, Tally};
use super::plan::Plan;
use super::sound;
use crate::data::{Batch, Loader, Parts, Places, Position, Stream};
use crate::formats::safetensors::FINGERPRINT;
use crate::graph::{Def, Graph};
use crate::resolve;
use crate::session::{Checked, Compiler, Model, Options, WeightInfo};
use crate::tensor::owned::{Tensor, TensorView};
use crate::train::mode::Drop;
use crate::train::step;

/// What one batch did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The batch.
    pub position: Position,
    /// The mean loss of its samples.
    pub loss: f64,
    /// The Euclidean norm of the gradients.
    pub norm: f64,
    /// The learning rate.
    pub rate: f64,
    /// Whether weights changed: the last of some accumulated batches.
    pub updated: bool,
}

/// What was measured on one part of the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Samples, each counted once.
    pub samples: u64,
    /// Their mean loss.
    pub loss: f64,
    /// The metrics of the `train` item that are numbers.
    pub figures: Vec<Figure>,
    /// Those that are tables.
    pub tables: Vec<Table>,
}

/// An epoch that is over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epoch {
    /// Its number, from 0.
    pub epoch: u64,
    /// Samples that it trained on.
    pub samples: u64,
    /// The mean loss of its batches, each at the weights of its time.
    pub loss: f64,
    /// The mean norm of the gradients.
    pub norm: f64,
    /// The learning rate at its end.
    pub rate: f64,
    /// Seconds, evaluation included.
    pub seconds: f64,
    /// What the validation part says, where there is one.
    pub validation: Option<Measured>,
}

/// What a training tells while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A batch is done.
    Step(&'a Step),
    /// An epoch is done; its checkpoint, if one is asked for, is on the disk.
    Epoch(&'a Epoch),
}

/// What a training shall do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop; [`Trainer::run`] may be called again.
    Stop,
}

/// A training; see the module.
#[derive(Debug)]
pub struct Trainer {
    pub(super) plan: Plan,
    compiler: Compiler,
    step: Model,
    eval: Model,
    plain: Graph,
    parts: Parts,
    looks: Vec<Look>,
    wants: Vec<crate::data::Want>,
    drops: Vec<Drop>,
    loader: Loader,
    validation: Option<Loader>,
    fingerprint: String,
    /// That of the network, for its weights; an imported one differs by batch and mode.
    architecture: Option<String>,
    pub(super) state: State,
    pub(super) folder: Option<PathBuf>,
    stream: Option<Stream>,
}

impl Trainer {
    /// The training of a net of a checked program; without a name, of the last `train` item. The program must have been
    /// checked with the batch of the item: [`Trainer::open`] sees to it.
    ///
    /// # Errors
    /// [`TrainError`] when there is no such item, data are missing or do not fit (labels that are no
    /// classes), settings leave nothing to do, or something has no gradient.
    pub fn new(
        compiler: &Compiler,
        checked: &Checked,
        net: Option<&str>,
        places: &Places,
    ) -> Result<Self, TrainError> {
        let (network, plan) = Self::plan(checked, net)?;
        let parts = plan.data.open(places)?;
        let compiler = Compiler::new(compiler.options().clone().seed(plan.seed));
        let Built { step, eval, plain, wants, looks, drops, text } =
            build(&compiler, network, &plan, &parts)?;
        let loader = Loader::training(&parts, &wants, plan.batch, plan.seed)?;
        sound::plan(&plan, &parts, loader.batches())?;
        let validation = match &parts.validate {
            Some(part) => Some(Loader::evaluation(&parts, part, &wants, plan.batch)?),
            None => None,
        };
        let text = text + &step.choices() + &eval.choices();
        let fingerprint = fingerprint(&plan, &text, loader.samples());
        let architecture = (!network.imported).then(|| crate::session::weights::fingerprint(&plain));
        let (state, folder, stream) = (State::default(), None, None);
        let mut trainer = Self {
            plan,
            compiler,
            step,
            eval,
            plain,
            parts,
            looks,
            wants,
            drops,
            loader,
            validation,
            fingerprint,
            architecture,
            state,
            folder,
            stream,
        };
        trainer.begin_averages()?;
        Ok(trainer)
    }

    /// The net and the settings of its `train` item; without a name, of the last item.
    ///
    /// # Errors
    /// [`TrainError::Compile`] for a program with errors, [`TrainError::NoItem`], [`TrainError::Setting`].
    pub fn plan<'c>(
        checked: &'c Checked,
        net: Option<&str>,
    ) -> Result<(&'c resolve::Network, Plan), TrainError> {
        let program = &checked.program;
        if checked.has_errors() {
            let diagnostics = program.diagnostics.clone();
            let sources = checked.sources.clone();
            return Err(TrainError::Compile(crate::session::CompileError::Program { diagnostics, sources }));
        }
        let name = |i: usize| program.nets.get(i).map(|n| n.name.to_string()).unwrap_or_default();
        let fits = |t: &&resolve::Training| net.is_none_or(|n| name(t.net) == n);
        let Some(training) = program.trainings.iter().rev().find(fits) else {
            let known = program.trainings.iter().map(|t| name(t.net)).collect();
            let last = program.nets.last().map(|n| n.name.to_string()).unwrap_or_default();
            return Err(TrainError::NoItem { net: net.map_or(last, str::to_owned), known });
        };
        Ok((&program.nets[training.net], Plan::of(training)?))
    }

    /// The training of the program in a text; its `train` item says the batch and the seed. `loader` gives the files that it
    /// uses.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn open(
        options: &Options,
        (name, text): (&str, &str),
        loader: &dyn resolve::Loader,
        net: Option<&str>,
        places: &Places,
    ) -> Result<Self, TrainError> {
        let first = Compiler::new(options.clone());
        let checked = first.check(name, text, loader);
        let (_, plan) = Self::plan(&checked, net)?;
        let compiler = Compiler::new(options.clone().batch(plan.batch));
        let checked = compiler.check(name, text, loader);
        Self::new(&compiler, &checked, net, places)
    }

    /// Writes a checkpoint to this folder after each epoch. What it holds of an earlier training is removed, unless
    /// [`Trainer::resume`] went on from it.
    pub fn checkpoints(&mut self, folder: impl Into<PathBuf>) {
        self.folder = Some(folder.into());
    }

    /// Goes on from the latest checkpoint of the folder; `false` when there is none. A file that is not whole is passed over.
    ///
    /// # Errors
    /// [`TrainError::Foreign`] when it is of another training, [`TrainError::File`] when none can be read.
    pub fn resume(&mut self, folder: &Path) -> Result<bool, TrainError> {
        let mut failed = None;
        for (_, path) in checkpoint::list(folder)?.into_iter().rev() {
            match checkpoint::read(&path, &self.fingerprint) {
                Ok((state, mut weights)) => {
                    self.step
                        .load_weights(&mut weights)
                        .map_err(|e| TrainError::Foreign { path: path.clone(), what: e.to_string() })?;
                    self.state = state;
                    self.stream = None;
                    return Ok(true);
                }
                Err(e @ TrainError::File { .. }) => failed = failed.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        failed.map_or(Ok(false), Err)
    }

    /// Trains one epoch, measures the validation part, and writes the checkpoint; `None` when `observe` stopped it in the
    /// middle. The next call begins where this one stopped.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn epoch(&mut self, observe: &mut dyn FnMut(&Step) -> Control) -> Result<Option<Epoch>, TrainError> {
        self.epoch_with(&mut |_, step| observe(step))
    }

    pub(super) fn epoch_with(
        &mut self,
        observe: &mut dyn FnMut(&Self, &Step) -> Control,
    ) -> Result<Option<Epoch>, TrainError> {
        let start = Instant::now();
        let per_epoch = self.loader.batches();
        let (mut loss, mut norm, mut batches) = (0.0, 0.0, 0u64);
        let rate = loop {
            let step = self.step()?;
            loss += step.loss;
            norm += step.norm;
            batches += 1;
            let last = self.state.batches.is_multiple_of(per_epoch);
            if observe(self, &step) == Control::Stop && !last {
                return Ok(None);
            }
            if last {
                break step.rate;
            }
        };
        let validation = match self.validation.clone() {
            Some(loader) => Some(self.measure(&loader)?),
            None => None,
        };
        let samples = batches * self.loader.batch() as u64;
        let (loss, norm) = (loss / batches as f64, norm / batches as f64);
        let seconds = start.elapsed().as_secs_f64();
        let epoch = Epoch { epoch: self.state.epoch, samples, loss, norm, rate, seconds, validation };
        self.state.epoch += 1;
        self.state.history.push(epoch.clone());
        self.save()?;
        Ok(Some(epoch))
    }

    /// Trains on the next batch.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn step(&mut self) -> Result<Step, TrainError> {
        let per_epoch = self.loader.batches().max(1);
        if self.stream.is_none() {
            let at =
                Position { epoch: self.state.batches / per_epoch, batch: self.state.batches % per_epoch };
            // One's own loop may go on beyond the last epoch.
            self.stream = Some(self.loader.stream(at, u64::MAX)?);
        }
        let trained = self.next_batch();
        if trained.is_err() {
            // The batch was not trained on: the next step takes it again.
            self.stream = None;
        }
        trained
    }

    fn next_batch(&mut self) -> Result<Step, TrainError> {
        let next = self.stream.as_mut().and_then(Iterator::next);
        let Some(batch) = next else {
            return Err(TrainError::Setting("the data gave no further batch".into()));
        };
        let batch = batch?;
        let step = self.train(&batch)?;
        if let Some(stream) = &self.stream {
            stream.recycle(batch);
        }
        Ok(step)
    }

    fn train(&mut self, batch: &Batch) -> Result<Step, TrainError> {
        let plan = &self.plan;
        let per_epoch = self.loader.batches().max(1);
        let accumulate = plan.accumulate as u64;
        let open = (self.state.batches + 1).is_multiple_of(accumulate);
        let total = plan.epochs * per_epoch / accumulate;
        let updates = self.state.updates;
        let rate = plan.schedule.rate(plan.rate, updates, total, (per_epoch / accumulate).max(1));
        let (size, root) = plan.optimizer.corrections(updates + 1, rate);
        let scalars = [
            (step::RATE, [rate as f32]),
            (step::SIZE, [size as f32]),
            (step::ROOT, [root as f32]),
            (step::OPEN, [if open { 1.0 } else { 0.0 }]),
        ];
        if scalars.iter().any(|(_, x)| !x[0].is_finite()) {
            return Err(TrainError::Setting(format!(
                "the learning rate is {rate:e} now, with which no step is a finite number: set a smaller `rate`"
            )));
        }
        let mut inputs: Vec<(&str, TensorView<'_>)> =
            self.wants.iter().zip(&batch.buffers).map(|(w, b)| (&*w.name, TensorView::from(b))).collect();
        let masks: Vec<(&str, Vec<f32>)> =
            self.drops.iter().map(|d| (d.name.as_str(), d.mask(plan.seed, self.state.batches))).collect();
        inputs.extend(masks.iter().map(|(name, mask)| (*name, TensorView::from(mask))));
        for (name, value) in &scalars {
            if self.step.inputs().iter().any(|p| *p.name == **name) {
                inputs.push((name, TensorView::from(&value[..])));
            }
        }
        let outputs = self.step.run_mut(&inputs)?;
        let number =
            |name: &str| outputs.get(name).and_then(|t| t.data().first().copied()).unwrap_or(f32::NAN);
        let (loss, norm) = (number(step::LOSS), number(step::NORM));
        if !(loss.is_finite() && norm.is_finite()) {
            let first = self.step.first_not_finite(&inputs)?;
            let Position { epoch, batch } = batch.position;
            return Err(TrainError::NotFinite(NotFinite { epoch, batch, loss, first }));
        }
        self.state.batches += 1;
        self.state.updates += u64::from(open);
        let (loss, norm) = (f64::from(loss), f64::from(norm).sqrt());
        Ok(Step { position: batch.position, loss, norm, rate, updated: open })
    }

    /// Whether the validation loss has not become better for `patience` epochs.
    pub(super) fn is_over(&self) -> bool {
        let Some(patience) = self.plan.patience else { return false };
        self.best().is_some_and(|best| self.state.epoch >= best + 1 + patience)
    }

    /// The epoch with the least validation loss, the first of equals.
    pub fn best(&self) -> Option<u64> {
        let losses = self.state.history.iter().filter_map(|e| Some((e.epoch, e.validation.as_ref()?.loss)));
        losses.reduce(|a, b| if b.1 < a.1 { b } else { a }).map(|b| b.0)
    }

    /// Measures the loss and the metrics on the test part; `None` when the data have none.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn test(&mut self) -> Result<Option<Measured>, TrainError> {
        let Some(part) = self.parts.test.clone() else { return Ok(None) };
        let loader = Loader::evaluation(&self.parts, &part, &self.wants, self.plan.batch)?;
        self.measure(&loader).map(Some)
    }

    /// The same on the validation part.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn validate(&mut self) -> Result<Option<Measured>, TrainError> {
        self.validation.clone().map(|loader| self.measure(&loader)).transpose()
    }

    /// The same on the training part, without augmentation.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn measure_training(&mut self) -> Result<Measured, TrainError> {
        let part = self.parts.train.clone();
        let loader = Loader::evaluation(&self.parts, &part, &self.wants, self.plan.batch)?;
        self.measure(&loader)
    }

    /// Measures the loss and the metrics, each sample counted once, with the average of the weights where one is kept.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn measure(&mut self, loader: &Loader) -> Result<Measured, TrainError> {
        let mut weights = self.weights()?;
        self.eval.load_weights(&mut weights).map_err(|e| TrainError::Setting(e.to_string()))?;
        let mut tallies: Vec<Tally> = self.plan.metrics.iter().map(Tally::new).collect();
        let (mut loss, mut samples) = (0.0, 0u64);
        let mut stream = loader.stream(Position::default(), 1)?;
        while let Some(batch) = stream.next() {
            let batch = batch?;
            let inputs: Vec<(&str, TensorView<'_>)> =
                self.wants.iter().zip(&batch.buffers).map(|(w, b)| (&*w.name, TensorView::from(b))).collect();
            let outputs = self.eval.run(&inputs)?;
            if let Some(each) = outputs.get(EACH) {
                loss += each.data()[..batch.count].iter().map(|x| f64::from(*x)).sum::<f64>();
            }
            samples += batch.count as u64;
            for ((tally, metric), look) in tallies.iter_mut().zip(&self.plan.metrics).zip(&self.looks) {
                let truth = match &look.truth {
                    Some(name) => outputs.get(name).map(Tensor::data),
                    None => batch.get(&metric.truth),
                };
                if let (Some(output), Some(truth)) = (outputs.get(&look.output), truth) {
                    tally.add(output.data(), truth, (self.plan.batch, batch.count, look.channels));
                }
            }
            stream.recycle(batch);
        }
        Ok(Measured {
            samples,
            loss: loss / samples.max(1) as f64,
            figures: tallies.iter().filter_map(Tally::figure).collect(),
            tables: tallies.iter().filter_map(Tally::table).collect(),
        })
    }

    /// The weights of the net as they are now: the moving averages where they are kept.
    ///
    /// # Errors
    /// [`TrainError::Run`].
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut out = BTreeMap::new();
        for id in self.plain.params() {
            let name = &self.plain.value(id).name;
            let average = self.step.weight(&format!("{name}{}", step::AVERAGE))?;
            let found = match average {
                Some(tensor) => Some(tensor),
                None => self.step.weight(name)?,
            };
            out.extend(found.map(|t| (name.clone(), t)));
        }
        Ok(out)
    }

    /// Sets weights of the net by name, and lets averages begin there.
    ///
    /// # Errors
    /// [`TrainError::Setting`] when they do not fit.
    pub fn set_weights(&mut self, weights: &BTreeMap<String, Tensor>) -> Result<(), TrainError> {
        let mut all = self.everything()?;
        for (name, tensor) in weights {
            all.insert(name.clone(), tensor.clone());
            let average = format!("{name}{}", step::AVERAGE);
            if all.contains_key(&average) {
                all.insert(average, tensor.clone());
            }
        }
        self.step.load_weights(&mut all).map_err(|e| TrainError::Setting(e.to_string()))
    }

    fn begin_averages(&mut self) -> Result<(), TrainError> {
        if self.plan.average.is_none() {
            return Ok(());
        }
        let mut weights = BTreeMap::new();
        for id in self.plain.params() {
            let name = &self.plain.value(id).name;
            weights.extend(self.step.weight(name)?.map(|t| (name.clone(), t)));
        }
        self.set_weights(&weights)
    }

    /// Weights, slots, statistics.
    fn everything(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut all = BTreeMap::new();
        for info in self.step.weights() {
            all.extend(self.step.weight(&info.name)?.map(|t| (info.name, t)));
        }
        Ok(all)
    }

    /// The trained network, of any batch.
    ///
    /// # Errors
    /// [`TrainError::Compile`].
    pub fn model(&self) -> Result<Model, TrainError> {
        let mut model = self.compiler.compile_graph(self.plain.clone())?;
        model.load_weights(&mut self.weights()?).map_err(|e| TrainError::Setting(e.to_string()))?;
        Ok(model)
    }

    fn save(&self) -> Result<(), TrainError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let tensors = tensors(self.everything()?);
        // First, so that what goes on from the checkpoint, whenever that was interrupted, finds the best of all epochs before it.
        let last = checkpoint::path(folder, self.state.epoch);
        let best = (self.best() == Some(self.state.epoch - 1)).then(|| folder.join("best.safetensors"));
        for path in best.into_iter().chain([last]) {
            checkpoint::write(&path, &tensors, &self.state, &self.fingerprint)?;
        }
        checkpoint::prune(folder, self.plan.keep)
    }

    /// Takes the weights of the best epoch by validation from its checkpoint; `false` when there is none.
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn take_best(&mut self) -> Result<bool, TrainError> {
        let (Some(folder), Some(_)) = (&self.folder, self.best()) else { return Ok(false) };
        let path = folder.join("best.safetensors");
        let (_, mut weights) = checkpoint::read(&path, &self.fingerprint)?;
        self.step
            .load_weights(&mut weights)
            .map_err(|e| TrainError::Foreign { path, what: e.to_string() })?;
        Ok(true)
    }

    /// Writes the net's weights, for `cnnc run --weights`.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write_weights(&self, path: &Path) -> Result<(), TrainError> {
        let notes = self.architecture.iter().map(|a| (FINGERPRINT.to_owned(), a.clone())).collect();
        checkpoint::write_noted(path, &tensors(self.weights()?), &notes)
    }

    /// The net's weights in the order in which the program makes them.
    pub fn weight_list(&self) -> Vec<WeightInfo> {
        let info = |id| {
            let value = self.plain.value(id);
            let trainable = matches!(value.def, Def::Param { trainable: true, .. });
            let axes = value.ty.names().iter().cloned().zip(value.ty.dims().iter().copied()).collect();
            WeightInfo { name: value.name.clone(), axes, trainable }
        };
        self.plain.params().map(info).collect()
    }

    /// The net's name.
    pub fn name(&self) -> &str {
        &self.plain.name
    }

    /// The settings.
    pub fn settings(&self) -> &Plan {
        &self.plan
    }

    /// The data.
    pub fn data(&self) -> &Parts {
        &self.parts
    }

    /// The epochs so far.
    pub fn history(&self) -> &[Epoch] {
        &self.state.history
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> u64 {
        self.loader.batches()
    }

    /// Batches done so far.
    pub fn done(&self) -> u64 {
        self.state.batches
    }

    /// The network of a step, to look at what was compiled.
    pub fn step_model(&self) -> &Model {
        &self.step
    }
}

fn tensors(all: BTreeMap<String, Tensor>) -> Tensors {
    all.into_iter().map(|(name, t)| (name, (t.dims(), t.data().to_vec()))).collect()
}

/// What two trainings share that go the same way: the step with its numbers, the data's settings and size.
fn fingerprint(plan: &Plan, text: &str, samples: usize) -> String {
    let schedule = (&plan.schedule, plan.rate, plan.epochs, plan.batch, plan.seed);
    let all = format!("{text}\n{:?}\n{schedule:?}\n{samples}", plan.data);
    let digest = Sha256::digest(all.as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
