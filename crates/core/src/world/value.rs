//! What a process may hold: small values, and sets of them.

use std::fmt;

use crate::material::{ChainForm, Part};
use crate::model::{Generation, TrustDomain};

/// How the CAs of a domain before and after a run are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kinship {
    /// They have different keys: who holds one of them accepts nothing of the other, but for a cross certificate.
    Strangers,
    /// They have one key and one name, or are the very same: who holds either accepts every leaf (path building looks at
    /// names, keys and signatures, and at nothing else that the two could differ in while both are in force).
    OneKey,
}

/// What has ended before a run began, so that nobody accepts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ended {
    /// Nothing.
    #[default]
    Nothing,
    /// The leaves of the old generation, their CA apart.
    Leaves,
    /// The CA of the old generation, and its leaves with it.
    Authority,
}

/// By which rules certificates of a domain are accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kinship: Kinship,
    pub(crate) ended: Ended,
}

impl Rules {
    /// Whether a verifier that trusts these CAs accepts a leaf. An ended root vouches for nothing, although another
    /// certificate of its key is in force (Go's `crypto/x509` and OpenSSL alike).
    pub(crate) fn accepts(self, held: Generations, leaf: Presented) -> bool {
        match self.ended {
            Ended::Nothing => held.seen_as(self.kinship).accepts(leaf),
            Ended::Leaves => leaf != Presented::Old && held.seen_as(self.kinship).accepts(leaf),
            Ended::Authority => leaf != Presented::Old && held.accepts(leaf),
        }
    }
}

/// Some generations of a CA or of a token key: what a trust store holds, what tokens are verified with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generations(u8);

impl Generations {
    /// Neither.
    pub const NONE: Self = Self(0);
    /// The old one alone.
    pub const OLD: Self = Self(1);
    /// The new one alone.
    pub const NEW: Self = Self(2);
    /// Both.
    pub const BOTH: Self = Self(3);

    /// That one alone.
    pub const fn one(generation: Generation) -> Self {
        match generation {
            Generation::Old => Self::OLD,
            Generation::New => Self::NEW,
        }
    }

    /// Both those of `self` and those of `other`.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that `self` and `other` have in common.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` are among `self`.
    pub const fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What holding these CAs amounts to.
    #[must_use]
    pub const fn seen_as(self, kinship: Kinship) -> Self {
        match (kinship, self) {
            (Kinship::Strangers, held) | (Kinship::OneKey, held @ Self::NONE) => held,
            (Kinship::OneKey, _) => Self::BOTH,
        }
    }

    /// Whether a verifier that trusts these, of two CAs that are strangers, accepts what is presented.
    ///
    /// The cross certificate is signed by the old CA over the new CA's key, so it completes a path for holders of the
    /// old CA; whoever holds the new CA ignores it (path building of Go's `crypto/x509` and of OpenSSL 3).
    pub const fn accepts(self, presented: Presented) -> bool {
        match presented {
            Presented::Old => self.holds(Self::OLD),
            Presented::NewBare => self.holds(Self::NEW),
            Presented::NewCross => self.0 != 0,
        }
    }

    /// The CAs of `domain` among some parts.
    pub fn of_roots<'a>(parts: impl IntoIterator<Item = &'a Part>, domain: TrustDomain) -> Self {
        parts.into_iter().fold(Self::NONE, |sum, part| match part {
            Part::Ca(of, generation) if *of == domain => sum.union(Self::one(*generation)),
            _ => sum,
        })
    }
}

impl fmt::Display for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "nothing",
            1 => "old",
            2 => "new",
            _ => "old and new",
        })
    }
}

/// A leaf certificate as it is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presented {
    /// Issued by the old CA.
    Old,
    /// Issued by the new CA, alone.
    NewBare,
    /// Issued by the new CA, followed by the cross certificate.
    NewCross,
}

impl Presented {
    /// A leaf of that generation in that form.
    pub const fn new(generation: Generation, form: ChainForm) -> Self {
        match (generation, form) {
            (Generation::Old, _) => Self::Old,
            (Generation::New, ChainForm::Bare) => Self::NewBare,
            (Generation::New, ChainForm::WithCross) => Self::NewCross,
        }
    }

    /// Which CA issued it.
    pub const fn generation(self) -> Generation {
        match self {
            Self::Old => Generation::Old,
            Self::NewBare | Self::NewCross => Generation::New,
        }
    }
}

impl fmt::Display for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Old => "an old leaf",
            Self::NewBare => "a new leaf",
            Self::NewCross => "a new leaf with the cross certificate",
        })
    }
}

/// One thing that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// CAs that it trusts or publishes, or token keys that it verifies or signs with.
    Holds(Generations),
    /// A leaf that it presents.
    Presents(Presented),
}

impl Value {
    const fn bit(self) -> u8 {
        match self {
            Value::Holds(generations) => 1 << generations.0,
            Value::Presents(Presented::Old) => 1 << 4,
            Value::Presents(Presented::NewBare) => 1 << 5,
            Value::Presents(Presented::NewCross) => 1 << 6,
        }
    }
}

/// The values that something may have at an instant, for all that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Values(u8);

impl Values {
    /// Exactly this one.
    pub const fn one(value: Value) -> Self {
        Self(value.bit())
    }

    /// Exactly these generations.
    pub const fn held(generations: Generations) -> Self {
        Self::one(Value::Holds(generations))
    }

    /// Adds those of `other`; whether any of them is new.
    pub const fn join(&mut self, other: Self) -> bool {
        let before = self.0;
        self.0 |= other.0;
        self.0 != before
    }

    /// Whether `value` is possible.
    pub const fn may_be(self, value: Value) -> bool {
        self.0 & value.bit() != 0
    }

    /// Whether all of `other` are among `self`.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both those of `self` and those of `other`.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those generations that each possible value holds.
    pub fn surely(self) -> Generations {
        self.generations().fold(Generations::BOTH, Generations::common)
    }

    /// The same, for CAs that are so related.
    pub fn surely_as(self, kinship: Kinship) -> Generations {
        self.generations().map(|held| held.seen_as(kinship)).fold(Generations::BOTH, Generations::common)
    }

    /// Those generations that some possible value holds.
    pub fn perhaps(self) -> Generations {
        self.generations().fold(Generations::NONE, Generations::union)
    }

    /// The sets of generations that are possible.
    pub fn generations(self) -> impl Iterator<Item = Generations> {
        (0..4).map(Generations).filter(move |held| self.may_be(Value::Holds(*held)))
    }

    /// The leaves that may be presented.
    pub fn presented(self) -> impl Iterator<Item = Presented> {
        [Presented::Old, Presented::NewBare, Presented::NewCross]
            .into_iter()
            .filter(move |leaf| self.may_be(Value::Presents(*leaf)))
    }

    /// Keeps those sets of generations that satisfy `keep`.
    pub(crate) fn retain(&mut self, keep: impl Fn(Generations) -> bool) {
        let kept = self.generations().filter(|held| keep(*held));
        self.0 = kept.fold(0, |bits, held| bits | Value::Holds(held).bit());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cross_certificate_is_accepted_by_holders_of_either_ca() {
        let accepted = |roots: Generations| {
            [Presented::Old, Presented::NewBare, Presented::NewCross].map(|leaf| roots.accepts(leaf))
        };
        assert_eq!(accepted(Generations::NONE), [false, false, false]);
        assert_eq!(accepted(Generations::OLD), [true, false, true]);
        assert_eq!(accepted(Generations::NEW), [false, true, true]);
        assert_eq!(accepted(Generations::BOTH), [true, true, true]);
    }

    #[test]
    fn certificates_of_one_key_are_as_good_as_each_other() {
        for held in [Generations::OLD, Generations::NEW, Generations::BOTH] {
            let amounts_to = held.seen_as(Kinship::OneKey);
            assert!(amounts_to.accepts(Presented::Old) && amounts_to.accepts(Presented::NewBare));
            assert_eq!(held.seen_as(Kinship::Strangers), held);
        }
        assert!(!Generations::NONE.seen_as(Kinship::OneKey).accepts(Presented::Old));
    }

    #[test]
    fn sets_of_values_grow_and_shrink() {
        let mut values = Values::held(Generations::OLD);
        values.join(Values::held(Generations::BOTH));
        assert_eq!(values.surely(), Generations::OLD);
        assert_eq!(values.perhaps(), Generations::BOTH);
        values.retain(|held| held.holds(Generations::NEW));
        assert_eq!(values, Values::held(Generations::BOTH));
    }
}
