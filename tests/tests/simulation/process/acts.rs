//! What the session wants done.

use super::*;

impl Process {
    pub(super) fn act(&mut self, context: &mut Context, action: Action) {
        match action {
            Action::Connect => self.connect(context),
            Action::Disconnect => self.disconnect(context),
            Action::FetchData { assignment, step, block } => {
                let (began, has_data, done) = (context.now, false, BTreeSet::new());
                self.trees.insert(assignment, Tree { step, block, began, done, has_data });
                let wait = context.random.within(0..3000);
                self.plan(context, wait, ProcessEvent::DataReady(assignment));
            }
            Action::SayStarted { assignment } => {
                self.say(context, Message::Started(assignment));
                let wait = context.random.within(0..50);
                self.plan(context, wait, ProcessEvent::StartSaid(assignment));
            }
            Action::RunShard { assignment, step, replica } => {
                self.run_shard(context, assignment, step, replica);
            }
            Action::StopShards { assignment } => {
                for (_, replica) in self.running.iter().filter(|(id, _)| *id == assignment) {
                    self.plan(context, 700, ProcessEvent::ShardStops(assignment, *replica));
                }
            }
            Action::FinishBlock { assignment, step, block } => {
                self.finish(context, assignment, step, block);
            }
            Action::SayOpened { run } => self.say(context, Message::Opened(run)),
            Action::Offer { step, block } => {
                let done = self.kept.get(&(step, block)).cloned();
                context.ensure(done.is_some(), || format!("{step} {block} is offered, not kept"));
                if let Some(done) = done {
                    context.faults.fired(Fault::Duplicate);
                    self.say(context, Message::BlockDone(done));
                }
            }
            Action::ReportFailure { assignment, replica, fatal, error, .. } => {
                self.say(context, Message::ShardFailed { assignment, replica, fatal, error });
            }
            Action::DropAssignment { assignment } => {
                let runs = self.running.iter().any(|(id, _)| *id == assignment);
                context.ensure(!runs, || format!("{assignment} is dropped while it runs"));
                self.trees.remove(&assignment);
            }
            Action::DropPartial { step, block } => {
                let kept = self.kept.remove(&(step, block));
                self.lost.remove(&(step, block));
                context.ensure(kept.is_some(), || format!("{step} {block} is dropped, not kept"));
            }
            Action::DropState { step } => {
                let had = self.states.remove(&step);
                context.ensure(had, || format!("the state of {step} is dropped, not here"));
            }
            Action::HandBack { assignment } => {
                self.say(context, Message::HandedBack(assignment));
            }
            Action::SayDraining => self.say(context, Message::Draining),
            Action::Leave => {
                self.say(context, Message::Goodbye);
                self.has_left = true;
                self.is_alive = false;
                self.connection = None;
            }
            Action::GiveUp => context.ensure(false, || "nobody refused this worker".into()),
        }
    }

    fn connect(&mut self, context: &mut Context) {
        context.ensure(self.connection.is_none(), || "two connections at once".into());
        let connection = context.network.connect(self.index, self.incarnation);
        self.connection = Some(connection);
        self.is_welcome = false;
        let process = ProcessId((self.index as u64) << 32 | self.incarnation);
        let hello = Message::Hello { process, slots: self.machine.slots };
        context.send(connection, Direction::ToCoordinator, hello);
        self.plan(context, 5_000_000, ProcessEvent::HandshakeTimeout(connection));
    }

    fn disconnect(&mut self, context: &mut Context) {
        if let Some(connection) = self.connection.take() {
            context.send(connection, Direction::ToCoordinator, Message::HangsUp);
        }
    }

    fn run_shard(
        &mut self,
        context: &mut Context,
        assignment: AssignmentId,
        step: StepId,
        replica: u32,
    ) {
        let is_new = self.running.insert((assignment, replica));
        context.ensure(is_new, || format!("{assignment} runs replica {replica} twice"));
        let has_state = self.states.contains(&step);
        context.ensure(has_state, || format!("{step} is run without its state"));
        let has_data = self.trees.get(&assignment).is_some_and(|tree| tree.has_data);
        context.ensure(has_data, || format!("{assignment} is run without its data"));
        let time = context.random.within(self.machine.shard_time / 2..self.machine.shard_time);
        self.plan(context, time.max(1), ProcessEvent::ShardEnds(assignment, replica));
    }

    fn finish(
        &mut self,
        context: &mut Context,
        assignment: AssignmentId,
        step: StepId,
        block: Block,
    ) {
        let Some(tree) = self.trees.remove(&assignment) else {
            context.ensure(false, || format!("{assignment} is finished, but not here"));
            return;
        };
        let partial = self.partial(step, block);
        context.ensure(tree.block == block && tree.done.iter().eq(&partial.replicas), || {
            format!("{step} {block} is finished with {:?}", tree.done)
        });
        let mut wrong = BTreeMap::new();
        for replica in &partial.replicas {
            if context.random.chance(self.machine.faulty) {
                context.faults.fired(Fault::WrongBits);
                wrong.insert(*replica, context.random.next());
            }
        }
        let inline = context.random.chance(self.machine.inline).then_some(partial);
        let compute = Duration::from_micros(context.now - tree.began);
        let done = BlockDone { step, block, compute, inline, wrong };
        self.kept.insert((step, block), done.clone());
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(done.clone());
        self.say(context, Message::BlockDone(done));
    }

    // Faults.
}
