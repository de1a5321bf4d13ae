//! Identifiers. Each kind has its own type, and no value is used twice.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::Digest;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

numbered!(
    /// One training or evaluation job, numbered by the coordinator from 1.
    RunId,
    ""
);
numbered!(
    /// One connection of a worker. A worker that reconnects gets a new one.
    WorkerId,
    "w"
);
numbered!(
    /// One start of a worker's program, chosen at random by the worker. After a lost
    /// connection it shows that the worker is the same process, and has not died.
    ProcessId,
    "p"
);
numbered!(
    /// One assignment of a block to a worker. If the same block is handed out again, that is a
    /// new assignment.
    AssignmentId,
    "a"
);

macro_rules! drawn {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Shown and read as 32 hexadecimal digits; on the wire, 16 bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// A new, random one of 128 bits.
            ///
            /// # Errors
            /// If the system's random source fails.
            pub fn draw() -> std::io::Result<Self> {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
                Ok(Self(u128::from_be_bytes(bytes)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0.to_be_bytes())
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                number(deserializer).map(Self)
            }
        }
    };
}

drawn!(
    /// A run's identity, chosen at random when it is submitted. Numbers of runs begin at 1 in
    /// every folder; identities are unique.
    RunIdentity
);
drawn!(
    /// The key of a submission, chosen by its client. If the submission was accepted but the
    /// answer was lost, the client finds the run by its key instead of starting it twice.
    SubmissionKey
);
drawn!(
    /// Shows a coordinator's Unix socket that a worker is the one that was offered shared memory
    /// on its connection. Valid once.
    MemoryToken
);

impl SubmissionKey {
    /// The key of all submissions with this digest, for clients that want to run the same
    /// submission only once.
    pub fn of(digest: Digest) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = digest.0;
        Self(u128::from_be_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]))
    }
}

/// Parses an identifier.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    if !deserializer.is_human_readable() {
        let bytes = bytes::Bytes::deserialize(deserializer)?;
        let array = bytes.as_ref().try_into().map(u128::from_be_bytes);
        return array.map_err(|_| de::Error::invalid_length(bytes.len(), &"16 bytes"));
    }
    let text = String::deserialize(deserializer)?;
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(&text, 16).ok().filter(|_| is_hex);
    number.ok_or_else(|| de::Error::custom("expected 32 hexadecimal digits"))
}

/// One step of a run: a training round or an evaluation. The plan
/// ([`crate::plan::RunPlan::step`]) says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepId {
    /// The run.
    pub run: RunId,
    /// The step's place in the run, from 0.
    pub index: u64,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} step {}", self.run, self.index)
    }
}

/// An aligned power-of-two range of replicas, `[index·2^level, (index+1)·2^level)`. It is a
/// subtree of the merge tree, so a worker can merge it locally.
///
/// The range may extend beyond the last replica of a step; those replicas do not exist and
/// contribute nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Binary logarithm of the number of replicas.
    pub level: u8,
    /// Place among the blocks of this level.
    pub index: u32,
}

impl Block {
    /// The block of the one replica `replica`.
    pub fn of_replica(replica: u32) -> Self {
        Self { level: 0, index: replica }
    }

    /// The smallest block from replica 0 that contains all of `replicas`.
    pub fn root(replicas: u32) -> Self {
        Self { level: replicas.max(1).next_power_of_two().trailing_zeros() as u8, index: 0 }
    }

    /// First replica.
    pub fn start(self) -> u64 {
        u64::from(self.index) << self.level
    }

    /// One past the last replica, in the whole tree.
    pub fn end(self) -> u64 {
        (u64::from(self.index) + 1) << self.level
    }

    /// The replicas that exist in a step of `replicas`.
    pub fn replicas(self, replicas: u32) -> std::ops::Range<u32> {
        let clip = |at: u64| at.min(u64::from(replicas)) as u32;
        clip(self.start())..clip(self.end())
    }

    /// The block of the next level that contains this one.
    pub fn parent(self) -> Self {
        Self { level: self.level + 1, index: self.index >> 1 }
    }

    /// The other child of [`Block::parent`].
    pub fn sibling(self) -> Self {
        Self { level: self.level, index: self.index ^ 1 }
    }

    /// Whether this is the left child of its parent.
    pub fn is_left(self) -> bool {
        self.index & 1 == 0
    }

    /// The two halves; `None` for a single replica.
    pub fn halves(self) -> Option<(Self, Self)> {
        let level = self.level.checked_sub(1)?;
        let index = self.index << 1;
        Some((Self { level, index }, Self { level, index: index + 1 }))
    }

    /// Whether every replica of `other` is one of this block's.
    pub fn contains(self, other: Self) -> bool {
        self.start() <= other.start() && other.end() <= self.end()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start(), self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_subtrees() {
        let block = Block { level: 2, index: 1 };
        assert_eq!((block.start(), block.end()), (4, 8));
        assert_eq!(block.replicas(6), 4..6);
        assert_eq!(block.replicas(3), 3..3);
        let (left, right) = block.halves().unwrap();
        assert_eq!((left.parent(), right.parent()), (block, block));
        assert_eq!(left.sibling(), right);
        assert!(left.is_left() && block.contains(right) && !right.contains(block));
        assert_eq!(Block::root(5), Block { level: 3, index: 0 });
        assert_eq!(Block::root(1), Block::of_replica(0));
    }
}
