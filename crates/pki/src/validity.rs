//! From when until when a certificate counts.

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, Encode as _};
use jiff::{SignedDuration, Timestamp};

use crate::wire;

/// How far before "now" a new certificate's validity begins.
///
/// A certificate whose NotBefore lies in the reader's future is refused, and the readers are all nodes of a cluster
/// whose clocks we have not set. Disconnected Azure Stack stamps drift by minutes, a node that was off for weeks
/// steps its clock only after the kubelet has started, and AKS engine itself, which does not back-date at all, broke
/// on that. Five minutes (what the Kubernetes CSR signer takes) has proven too little for such stamps, an hour (what
/// public CAs take) covers every clock with which TLS, tokens and etcd leases still work at all. More would cost
/// something: an observer could no longer tell by NotBefore which of two certificates of one day is the newer one.
pub const BACK_DATE: SignedDuration = SignedDuration::from_hours(1);

/// RFC 5280 §4.1.2.5: dates through 2049 are `UTCTime`, later ones `GeneralizedTime`. This is 2050-01-01T00:00:00Z.
const FIRST_GENERALIZED: i64 = 2_524_608_000;

/// A span of time, both ends included, in whole seconds as certificates have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    // Invariant: not_before < not_after, kept by `new`.
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Validity {
    /// The span between two instants; fractions of seconds are cut off.
    ///
    /// # Errors
    ///
    /// When it would be empty, or begins before 1970, which our encoder cannot write.
    pub fn new(not_before: Timestamp, not_after: Timestamp) -> Result<Self, ValidityError> {
        let cut = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
        let (not_before, not_after) = (cut(not_before), cut(not_after));
        if not_before >= not_after {
            return Err(ValidityError::Empty { not_before, not_after });
        }
        if not_before < Timestamp::UNIX_EPOCH {
            return Err(ValidityError::TooEarly { not_before });
        }
        Ok(Self { not_before, not_after })
    }

    /// From [`BACK_DATE`] before `now` until `lifetime` after it.
    ///
    /// # Errors
    ///
    /// When `lifetime` is not positive enough, or ends beyond the year 9999.
    pub fn back_dated(now: Timestamp, lifetime: SignedDuration) -> Result<Self, ValidityError> {
        let outside = |_| ValidityError::OutOfRange { now, lifetime };
        let not_before = now.checked_sub(BACK_DATE).map_err(outside)?;
        Self::new(not_before, now.checked_add(lifetime).map_err(outside)?)
    }

    /// The part of this span that lies inside of `outer`.
    ///
    /// # Errors
    ///
    /// When nothing is left.
    pub fn clipped_to(self, outer: Self) -> Result<Self, ValidityError> {
        Self::new(self.not_before.max(outer.not_before), self.not_after.min(outer.not_after))
    }

    /// The first second.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Reads a DER `Validity`.
    ///
    /// RFC 5280 §4.1.2.5 spells "no end" as 99991231235959Z, one day more than [`Timestamp::MAX`]; it becomes the latter.
    pub(crate) fn from_der(der: AnyRef<'_>) -> der::Result<(Timestamp, Timestamp)> {
        let (not_before, not_after) =
            der.sequence(|reader| Ok::<_, der::Error>((AnyRef::decode(reader)?, AnyRef::decode(reader)?)))?;
        Ok((read_time(not_before)?, read_time(not_after)?))
    }

    pub(crate) fn to_der(self) -> der::Result<Vec<u8>> {
        wire::sequence(&[&write_time(self.not_before)?, &write_time(self.not_after)?])
    }
}

fn read_time(time: AnyRef<'_>) -> der::Result<Timestamp> {
    use der::Tagged as _;
    let unix = match time.tag() {
        der::Tag::UtcTime => time.decode_as::<UtcTime>()?.to_unix_duration(),
        _ => time.decode_as::<GeneralizedTime>()?.to_unix_duration(),
    };
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

fn write_time(time: Timestamp) -> der::Result<Vec<u8>> {
    let seconds = time.as_second();
    let unix = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    match seconds < FIRST_GENERALIZED {
        true => UtcTime::from_unix_duration(unix)?.to_der(),
        false => GeneralizedTime::from_unix_duration(unix)?.to_der(),
    }
}

/// Why there is no such span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidityError {
    /// The end is not after the beginning.
    #[error("validity from {not_before} to {not_after} is empty")]
    Empty {
        /// The beginning.
        not_before: Timestamp,
        /// The end.
        not_after: Timestamp,
    },
    /// Certificates cannot begin before 1970 here.
    #[error("validity from {not_before} begins before 1970")]
    TooEarly {
        /// The beginning.
        not_before: Timestamp,
    },
    /// The end is beyond what a certificate can say.
    #[error("{lifetime:#} from {now} is beyond the year 9999")]
    OutOfRange {
        /// Where the lifetime was to begin.
        now: Timestamp,
        /// How long it was to be.
        lifetime: SignedDuration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn round_trip(validity: Validity) -> (Timestamp, Timestamp) {
        let der = validity.to_der().unwrap();
        Validity::from_der(AnyRef::try_from(der.as_slice()).unwrap()).unwrap()
    }

    #[test]
    fn times_change_their_encoding_in_2050() {
        let validity = Validity::new(at("2049-12-31T23:59:59Z"), at("2050-01-01T00:00:00Z")).unwrap();
        assert_eq!(validity.to_der().unwrap()[2..4], [0x17, 13], "UTCTime");
        assert_eq!(validity.to_der().unwrap()[17..19], [0x18, 15], "GeneralizedTime");
        assert_eq!(round_trip(validity), (validity.not_before(), validity.not_after()));
    }

    #[test]
    fn the_end_of_time_is_readable() {
        let der = wire::sequence(&[b"\x17\x0d200101000000Z", b"\x18\x0f99991231235959Z"]).unwrap();
        let (_, not_after) = Validity::from_der(AnyRef::try_from(der.as_slice()).unwrap()).unwrap();
        assert_eq!(not_after, Timestamp::MAX);
    }

    #[test]
    fn back_dating_and_clipping() {
        let now = at("2026-11-21T12:00:00.75Z");
        let validity = Validity::back_dated(now, SignedDuration::from_hours(24)).unwrap();
        assert_eq!(validity.not_before(), at("2026-11-21T11:00:00Z"));
        assert_eq!(validity.not_after(), at("2026-11-22T12:00:00Z"));
        let outer = Validity::new(at("2026-11-21T11:30:00Z"), at("2026-11-22T00:00:00Z")).unwrap();
        assert_eq!(validity.clipped_to(outer), Ok(outer));
        let past = Validity::new(at("2020-01-01T00:00:00Z"), at("2021-01-01T00:00:00Z")).unwrap();
        assert!(matches!(validity.clipped_to(past), Err(ValidityError::Empty { .. })));
        assert!(Validity::back_dated(now, SignedDuration::MAX).is_err());
    }
}
