//! The faults: what befalls a cluster, and how it is healed.

use super::*;

impl Cluster {
    pub(super) fn fault(&mut self, fault: Fault) {
        let count = self.processes.len() as u64;
        let index = self.context.random.within(0..count) as usize;
        let until = self.context.random.within(500_000..15_000_000);
        let (now, is_alive) = (self.context.now, self.processes[index].is_alive);
        let fired = match fault {
            Fault::Crash | Fault::PowerLoss if is_alive => {
                self.die(index, fault == Fault::Crash);
                true
            }
            Fault::MassDeath => {
                for index in 0..self.processes.len() {
                    let closes = self.context.random.chance(500);
                    self.die(index, closes);
                }
                true
            }
            Fault::RackSilent => {
                let first = self.context.random.within(0..count - 1) as usize;
                let beyond = self.context.random.within(first as u64 + 2..count + 1) as usize;
                for index in first..beyond.min(self.processes.len()) {
                    self.context.network.block(index, now + until, now + until);
                }
                count > 1
            }
            Fault::AllButOneLeave => self.all_but_one_leave(index),
            Fault::Partition => {
                self.context.network.block(index, now + until, now + until);
                true
            }
            Fault::OneWayPartition => {
                let to = self.context.random.chance(500);
                let (to, from) = if to { (now + until, 0) } else { (0, now + until) };
                self.context.network.block(index, to, from);
                true
            }
            Fault::Delay => match self.processes[index].connection {
                Some(connection) => {
                    self.context.network.slow_down(connection, now + until);
                    true
                }
                None => false,
            },
            Fault::Reset => self.reset(index),
            Fault::Duplicate => self.processes[index].say_again(&mut self.context),
            Fault::Pause if is_alive && self.processes[index].stopped.is_none() => {
                self.processes[index].stopped = Some(Vec::new());
                self.context.after(until, Event::Resume(index));
                true
            }
            Fault::Join if count < 12 => {
                let machine = self.processes[index].machine;
                let index = self.processes.len();
                let process = Process::start(&mut self.context, index, 0, machine);
                self.processes.push(process);
                true
            }
            Fault::Drain if is_alive && self.processes[index].stopped.is_none() => {
                self.processes[index].drain(&mut self.context);
                true
            }
            Fault::CoordinatorPause if self.stopped.is_none() => {
                self.stopped = Some(Vec::new());
                self.context.after(until, Event::CoordinatorResume);
                true
            }
            Fault::CoordinatorRestart if self.stopped.is_none() => {
                for index in 0..self.processes.len() {
                    self.reset(index);
                }
                self.coordinator.restart(&mut self.context);
                true
            }
            Fault::PartialLost => {
                self.processes[index].lose_partials();
                false
            }
            Fault::Altered => {
                self.coordinator.alters_next = true;
                false
            }
            Fault::Nonsense => {
                let step = StepId { run: RunId(1), index: 0 };
                let step = self.coordinator.current().map_or(step, |(step, _)| step);
                self.processes[index].say_nonsense(&mut self.context, step)
            }
            _ => false,
        };
        if fired {
            self.context.faults.fired(fault);
        }
    }

    /// All workers but this one leave in good order. Says whether any did.
    fn all_but_one_leave(&mut self, staying: usize) -> bool {
        let leaving = |(index, process): &(usize, &mut Process)| {
            *index != staying && process.is_alive && process.stopped.is_none()
        };
        let leaving = self.processes.iter_mut().enumerate().filter(leaving);
        let mut count = 0;
        for (_, process) in leaving {
            process.drain(&mut self.context);
            count += 1;
        }
        count > 0
    }

    /// A process ends without warning, and is started again after a while.
    pub(super) fn die(&mut self, index: usize, kernel_closes: bool) {
        let process = &mut self.processes[index];
        if !process.is_alive {
            return;
        }
        process.is_alive = false;
        process.stopped = None;
        if let Some(connection) = process.connection.take() {
            if self.context.random.chance(300) {
                self.context.network.lose(connection, Direction::ToCoordinator);
            }
            if kernel_closes {
                self.context.send(connection, Direction::ToCoordinator, Message::Closed);
            }
        }
        let wait = self.context.random.within(50_000..5_000_000);
        self.context.after(wait, Event::Restart(index));
    }

    pub(super) fn restart(&mut self, index: usize) {
        let process = &self.processes[index];
        if process.is_alive || process.has_left {
            return;
        }
        self.context.faults.fired(Fault::Restart);
        let (incarnation, machine) = (process.incarnation + 1, process.machine);
        self.processes[index] = Process::start(&mut self.context, index, incarnation, machine);
    }

    pub(super) fn resume(&mut self, index: usize) {
        for event in self.processes[index].stopped.take().into_iter().flatten() {
            self.context.after(0, event);
        }
    }

    pub(super) fn resume_coordinator(&mut self) {
        if let Some(stopped) = self.stopped.take() {
            self.coordinator.was_away(&mut self.context);
            for event in stopped {
                self.context.after(0, event);
            }
        }
    }

    /// Both sides of a connection see it end; what was under way is lost.
    fn reset(&mut self, index: usize) -> bool {
        let process = &self.processes[index];
        let Some(connection) = process.connection.filter(|_| process.is_alive) else {
            return false;
        };
        for direction in [Direction::ToCoordinator, Direction::ToWorker] {
            self.context.network.lose(connection, direction);
            self.context.send(connection, direction, Message::Closed);
        }
        true
    }

    /// Faults end: the network works, stopped processes go on, and there are
    /// enough workers again. Poison stays poison.
    pub(super) fn heal(&mut self) {
        self.is_healed = true;
        self.context.network.heal();
        self.resume_coordinator();
        for index in 0..self.processes.len() {
            self.resume(index);
            self.restart(index);
        }
        let staying = self.processes.iter().filter(|process| !process.has_left).count();
        let wanted = self.min_workers.iter().copied().max().unwrap_or(1).max(1) as usize;
        // Those that are about to leave count as staying here, so that each
        // needs a replacement.
        for replacement in 0..wanted + staying {
            let (index, mut machine) = (self.processes.len(), self.processes[0].machine);
            // As many as a run waits for can work on it.
            if replacement < wanted {
                machine.lacks = None;
            }
            self.processes.push(Process::start(&mut self.context, index, 0, machine));
        }
    }
}
